"""Threads that execute PTX, all of them at once in NumPy arrays.

Those at the earliest statement go on until a branch or a label; the others wait for them there. So
threads that part meet again, and those of a block at its barrier. The order is one of many that a
GPU may take: what another one could make differ is an error of memory.py.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arithmetic import operation
from .memory import ALLOCATED, AccessError, GlobalMemory, Space
from .text import Kernel, Statement
from .types import constant, dtype_of, size_of

UNSET = 0xA5  # every byte of a register that nothing was written to
LIMIT = 1_000_000  # stretches of statements, after which a kernel is taken not to end


class DeadlockError(AssertionError):
    """A barrier that not all threads of a block reach, or a kernel that does not end."""


class Machine:
    """One launch of a kernel: `Machine(...).run()`.

    arguments: the bytes of each parameter.
    shared_loads: for each, how many bytes a lane read, which threads, and where.
    """

    def __init__(
        self,
        kernel: Kernel,
        grid: int,
        block: int,
        arguments: Sequence[bytes],
        memory: GlobalMemory,
        shared_bytes: int = 0,
    ) -> None:
        if not (0 < grid < 1 << 31 and 0 < block <= 1024):
            raise ValueError(f"invalid launch of {grid} blocks of {block} threads")
        self.kernel, self.block, self.count = kernel, block, grid * block
        self.memory = {"global": memory, "shared": shared_memory(grid, shared_bytes)}
        self.shared_bytes = shared_bytes
        self.parameters = packed(kernel, arguments)
        self.registers = {
            name: np.full(self.count * kind.itemsize, UNSET, np.uint8).view(kind)
            for name, kind in kernel.registers.items()
        }
        thread = np.arange(self.count, dtype=np.uint32)
        self.special = {
            "%tid.x": thread % block,
            "%ctaid.x": thread // block,
            "%ntid.x": np.full(self.count, block, np.uint32),
            "%nctaid.x": np.full(self.count, grid, np.uint32),
        }
        self.place = np.zeros(self.count, np.int64)  # of each thread's next statement
        self.waiting = np.zeros(self.count, bool)
        self.joins = set(kernel.labels.values())
        self.shared_loads: list[tuple[int, Any, Any]] = []

    def run(self) -> None:
        with np.errstate(all="ignore"):
            for _ in range(LIMIT):
                ready = ~self.waiting & (self.place < len(self.kernel.statements))
                if ready.any():
                    self._advance(np.flatnonzero(ready & (self.place == self.place[ready].min())))
                elif self.waiting.any():
                    self._release()
                else:
                    break
            else:
                raise DeadlockError(f"{self.kernel.name} does not end")
        self.memory["global"].forget_threads()

    def _advance(self, threads: Any) -> None:
        """From one statement to where paths part or meet."""
        place = self.place[threads[0]]
        while True:
            statement = self.kernel.statements[place]
            place += 1
            active = self._active(statement, threads)
            base = statement.opcode.split(".")[0]
            if base == "bra":
                self.place[threads] = place
                self.place[active] = self.kernel.labels[statement.operands[0]]
            elif base in ("ret", "exit"):
                self.place[threads] = place
                self.place[active] = len(self.kernel.statements)
            elif base == "bar":
                if active.size < threads.size or statement.operands != ("0",):
                    raise NotImplementedError(str(statement))
                self.place[threads], self.waiting[threads] = place, True
            else:
                if active.size:
                    self._execute(statement, active)
                if place not in self.joins:
                    continue
                self.place[threads] = place
            return

    def _active(self, statement: Statement, threads: Any) -> Any:
        """Those of the threads that execute a guarded statement."""
        if statement.guard is None:
            return threads
        holds = self.registers[statement.guard.lstrip("!")][threads]
        return threads[~holds if statement.guard[0] == "!" else holds]

    def _release(self) -> None:
        """Let go on whoever waits at a barrier."""
        blocks = self.waiting.reshape(-1, self.block)
        places = self.place.reshape(-1, self.block)
        if not blocks[blocks.any(axis=1)].all() or (places != places[:, :1]).any():
            raise DeadlockError("a barrier that not all threads of a block reach")
        self.waiting[:] = False
        self.memory["shared"].forget_threads()

    def _execute(self, statement: Statement, threads: Any) -> None:
        base, *modifiers = statement.opcode.split(".")
        if base in ("ld", "st"):
            space = modifiers[modifiers[0] == "volatile"]
            if space == "param":
                self._load_parameter(statement, threads)
            elif space not in self.memory:
                raise NotImplementedError(str(statement))
            else:
                (self._load if base == "ld" else self._store)(statement, space, threads)
            return
        target, *sources = statement.operands
        if base == "mov" and not all(isinstance(o, str) for o in statement.operands):
            self._repack(target, sources[0], threads)
            return
        op = operation(statement.opcode)
        values = [self._read(s, kind, threads) for s, kind in zip(sources, op.sources, strict=True)]
        self._write(target, op.result, op.compute(*values), threads)

    def _read(self, operand: str, kind: str, threads: Any) -> Any:
        """A register's lowest bits as this type, a number or an address."""
        if operand in self.registers:
            value = self.registers[operand][threads]
            if kind == "pred":
                return value
            narrow = value.astype(f"u{size_of(kind)}")  # registers may be wider than operands
            return narrow.view(dtype_of(kind))
        if operand in self.special:
            return self.special[operand][threads].view(dtype_of(kind))
        return literal(operand, kind)

    def _write(self, register: str, kind: str, value: Any, threads: Any) -> None:
        """To the register, extended by sign or zeros where that is wider."""
        held = self.registers[register]
        value = np.ascontiguousarray(value)
        if kind != "pred" and value.dtype.kind not in "iu":
            value = value.view(f"u{size_of(kind)}")
        held[threads] = value.astype(held.dtype)

    def _repack(self, target: Any, source: Any, threads: Any) -> None:
        """mov between a register and several that have its parts, the lowest first."""
        if isinstance(target, str):
            parts = [self.registers[name][threads] for name in source]
            whole = np.stack(parts, axis=-1).view(self.registers[target].dtype)[..., 0]
            self.registers[target][threads] = whole
            return
        whole = self.registers[source][threads]
        part = self.registers[next(name for name in target if name != "_")].dtype
        for name, value in zip(target, whole[:, None].view(part).T, strict=True):
            if name != "_":
                self.registers[name][threads] = value

    def _addresses(self, operand: str, space: str, threads: Any) -> Any:
        base, offset = re.fullmatch(r"\[([^+\]]+)(?:\+(-?\d+))?\]", operand).groups()
        kind = "u32" if space == "shared" else "u64"
        if base in self.registers:
            kind = f"u{8 * self.registers[base].dtype.itemsize}"
        start = np.asarray(self._read(base, kind, threads)).astype(np.int64) + int(offset or 0)
        start = np.broadcast_to(start, threads.shape)
        if space == "shared":
            if ((start < 0) | (start >= self.shared_bytes)).any():  # it would be another block's
                raise AccessError("shared memory is used that the launch did not ask for")
            start = start + threads // self.block * stride_of(self.shared_bytes)
        return start

    def _load(self, statement: Statement, space: str, threads: Any) -> None:
        targets, kind = as_parts(statement.operands[0]), statement.opcode.split(".")[-1]
        addresses = self._addresses(statement.operands[1], space, threads)
        size = size_of(kind)
        if space == "shared":
            self.shared_loads.append((size * len(targets), threads, addresses))
        values = self.memory[space].load(addresses, size, len(targets), threads + 1)
        for name, value in zip(targets, values, strict=True):
            self._write(name, kind, value.view(dtype_of(kind)), threads)

    def _store(self, statement: Statement, space: str, threads: Any) -> None:
        sources, kind = as_parts(statement.operands[1]), statement.opcode.split(".")[-1]
        size = size_of(kind)
        values = [
            np.broadcast_to(self._read(name, f"b{8 * size}", threads), threads.shape)
            for name in sources
        ]
        addresses = self._addresses(statement.operands[0], space, threads)
        self.memory[space].store(addresses, size, np.stack(values), threads + 1)

    def _load_parameter(self, statement: Statement, threads: Any) -> None:
        targets, kind = as_parts(statement.operands[0]), statement.opcode.split(".")[-1]
        name, offset = re.fullmatch(r"\[(\w+)(?:\+(\d+))?\]", statement.operands[1]).groups()
        start = self.kernel.parameters[name].offset + int(offset or 0)
        dtype = dtype_of(kind)
        for i, target in enumerate(targets):
            value = np.frombuffer(self.parameters, dtype, 1, start + i * dtype.itemsize)
            self._write(target, kind, value, threads)


def as_parts(operand: Any) -> tuple[str, ...]:
    """The registers of an operand that may be a vector."""
    return (operand,) if isinstance(operand, str) else operand


def literal(text: str, kind: str) -> Any:
    """A constant: 0f and 0d and digits of its bits, or an integer; `shared` lies at 0."""
    if text == "shared":
        return dtype_of(kind).type(0)
    if kind == "pred":
        return np.bool(int(text) != 0)
    if text.startswith(("0f", "0F", "0d", "0D")):
        return constant(kind, int(text[2:], 16))
    return constant(kind, int(text.rstrip("U"), 0) % (1 << 8 * size_of(kind)))


def packed(kernel: Kernel, arguments: Sequence[bytes]) -> bytes:
    """The arguments where the kernel expects them; each must be as large as its parameter."""
    sizes = [p.size for p in kernel.parameters.values()]
    if [len(a) for a in arguments] != sizes:
        given = [len(a) for a in arguments]
        raise TypeError(f"{kernel.name} takes parameters of {sizes} bytes, not {given}")
    whole = bytearray([UNSET]) * kernel.parameter_bytes
    for parameter, argument in zip(kernel.parameters.values(), arguments, strict=True):
        whole[parameter.offset : parameter.offset + parameter.size] = argument
    return bytes(whole)


def stride_of(shared_bytes: int) -> int:
    """From one block's shared memory to the next one's here."""
    return -(-max(1, shared_bytes) // 256) * 256


def shared_memory(grid: int, shared_bytes: int) -> Space:
    stride = stride_of(shared_bytes)
    space = Space("shared", np.full(grid * stride, UNSET, np.uint8), 0)
    space.state.reshape(grid, stride)[:, :shared_bytes] = ALLOCATED
    return space
