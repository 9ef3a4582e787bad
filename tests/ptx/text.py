"""PTX as NVRTC writes it: the kernels of a module, their parameters, registers and statements."""

import re
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from .types import size_of


@dataclass(frozen=True)
class Parameter:
    """Where a kernel's parameter lies among them all, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class Statement:
    """An instruction: `@guard opcode operands;`. `!p` is a guard that p must not hold."""

    opcode: str
    operands: tuple[str | tuple[str, ...], ...]
    guard: str | None = None

    def __str__(self) -> str:
        guard = f"@{self.guard} " if self.guard else ""
        names = (n if isinstance(n, str) else "{" + ", ".join(n) + "}" for n in self.operands)
        return f"{guard}{self.opcode} {', '.join(names)};"


@dataclass
class Kernel:
    """The body of an entry point.

    labels: the index of the statement behind each. registers: the unsigned type, or bool, of each;
    those of `{ .reg … }` blocks have names of their own.
    """

    name: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    registers: dict[str, np.dtype] = field(default_factory=dict)

    @property
    def parameter_bytes(self) -> int:
        return max((p.offset + p.size for p in self.parameters.values()), default=0)


@cache
def kernels(ptx: str) -> dict[str, Kernel]:
    """All entry points of a module."""
    ptx = re.sub(r"//.*|\.pragma[^;]*;", "", ptx)
    found = {}
    for match in re.finditer(r"\.entry\s+(\w+)\((.*?)\)[^{]*\{", ptx, re.DOTALL):
        kernel = Kernel(match[1], _parameters(match[2]))
        _read_body(kernel, ptx, match.end())
        found[kernel.name] = kernel
    return found


_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(?:\.ptr\s+(?:\.align\s+\d+\s+)?)?(\w+)(?:\[(\d+)\])?"
)


def _parameters(text: str) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    end = 0
    for align, kind, name, length in _PARAMETER.findall(text):
        size = size_of(kind)
        start = -(-end // int(align or size)) * int(align or size)
        found[name] = Parameter(start, size * int(length or 1))
        end = start + found[name].size
    return found


def _read_body(kernel: Kernel, text: str, place: int) -> None:
    scopes: list[dict[str, str]] = [{}]  # of names that a block declares
    while scopes:
        place = re.compile(r"\s*").match(text, place).end()
        if text[place] == "{":
            scopes.append({})
            place += 1
        elif text[place] == "}":
            scopes.pop()
            place += 1
        elif label := re.compile(r"([$\w]+):").match(text, place):
            kernel.labels[label[1]] = len(kernel.statements)
            place = label.end()
        else:
            end = text.index(";", place)
            _read(kernel, text[place:end], scopes)
            place = end + 1


def _read(kernel: Kernel, text: str, scopes: list[dict[str, str]]) -> None:
    if declared := re.match(r"\.reg\s+\.(\w+)\s+(.*)", text, re.DOTALL):
        kind = np.dtype(bool if declared[1] == "pred" else f"u{size_of(declared[1])}")
        for name in re.split(r"\s*,\s*", declared[2].strip()):
            _declare(kernel, name, kind, scopes)
        return
    guard, opcode, rest = re.match(r"(?:@(!?\S+)\s+)?([\w.:]+)\s*(.*)", text, re.DOTALL).groups()
    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", rest)

    def known(name: str) -> str:
        return next((scope[name] for scope in reversed(scopes) if name in scope), name)

    kernel.statements.append(
        Statement(
            opcode,
            tuple(
                tuple(known(part) for part in re.split(r"[\s,]+", operand.strip("{} ")))
                if operand.startswith("{")
                else known(operand)
                for operand in operands
            ),
            guard and (guard[0] == "!") * "!" + known(guard.lstrip("!")),
        )
    )


def _declare(kernel: Kernel, name: str, kind: np.dtype, scopes: list[dict[str, str]]) -> None:
    if several := re.fullmatch(r"(.+)<(\d+)>", name):
        kernel.registers |= {f"{several[1]}{i}": kind for i in range(int(several[2]))}
        return
    unique = f"{name}@{len(kernel.registers)}"
    scopes[-1][name] = unique
    kernel.registers[unique] = kind
