"""Which gated MLP is it? `gated_mlp` reads the forward method of a module's class, and says.

It knows two forms, whatever the names in them and however many statements they are spread over:

    down(f(gate(x)) * up(x))                  Llama, OLMo, OLMo2, Mistral, Qwen2, Gemma, …
    a, b = packed(x).chunk(2, dim=-1)
    down(f(a) * b)                            Phi-3, GLM, ModernBERT, …

A method that does anything else, or decides anything, is none. That is also why it is read and not
run on stand-ins for tensors, as torch.fx does: they see one branch of a decision only.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class GatedMLP:
    """y = last(… first(f(gate)·up)) for the attributes of a module that these names stand for.

    projections: of x, to gate and up; or one to both, as the two halves of its last dimension.
    gate_first: whether the gate is the first half. down: what the product goes through in turn.
    """

    activation: str
    projections: tuple[str, ...]
    down: tuple[str, ...]
    gate_first: bool = True


@lru_cache(maxsize=1024)
def gated_mlp(forward: Callable[..., Any]) -> GatedMLP | None:
    """The gated MLP that a forward method is, or None; None also where its source is missing.

    >>> from transformers.models.llama.modeling_llama import LlamaMLP
    >>> gated_mlp(LlamaMLP.forward)
    GatedMLP(activation='act_fn', projections=('gate_proj', 'up_proj'), down=('down_proj',), \
gate_first=True)
    """
    try:
        source = textwrap.dedent(inspect.getsource(forward))
        (function,) = ast.parse(source).body
    except (OSError, SyntaxError, TypeError, ValueError):  # a lambda, a class in an interpreter, …
        return None
    calls = sum(isinstance(node, ast.Call) for node in ast.walk(function))
    try:
        result = _result(function)
    except KeyError:
        return None
    mlp = None if result is None else _recognise(result)
    # Calls that the result does not depend on, or that were two and look like one, are not lost.
    return mlp if mlp is not None and calls == _calls(mlp) else None


def _calls(mlp: GatedMLP) -> int:
    halving = len(mlp.projections) == 1
    return 1 + len(mlp.projections) + halving + len(mlp.down)


class _Inline(ast.NodeTransformer):
    """Puts their values in the place of variables; raises KeyError for any other name."""

    def __init__(self, values: dict[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values[node.id]


def _result(function: ast.stmt) -> ast.expr | None:
    """What a method of straight-line code returns, as one expression in its argument x."""
    match function:
        case ast.FunctionDef(
            args=ast.arguments(
                posonlyargs=[],
                args=[ast.arg(arg="self"), ast.arg(arg=x)],
                vararg=None,
                kwonlyargs=[],
                kwarg=None,
            ),
            decorator_list=[],
        ):
            values: dict[str, ast.expr] = {"self": ast.Name("self"), x: ast.Name("x")}
        case _:
            return None
    inline = _Inline(values)
    for statement in function.body:
        match statement:
            case ast.Expr(value=ast.Constant()):
                pass  # the docstring
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = inline.visit(value)
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name(id=a), ast.Name(id=b)])], value=value
            ):
                both = inline.visit(value)
                for index, name in enumerate((a, b)):
                    values[name] = ast.Subscript(both, ast.Constant(index))
            case ast.Return(value=ast.expr() as value):
                result: ast.expr = inline.visit(value)
                return result
            case _:
                return None
    return None


def _call(node: ast.expr) -> tuple[str, ast.expr] | None:
    """name and argument of self.name(argument)."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="self"), attr=name), args=[argument], keywords=[]
        ):
            return name, argument
    return None


_PROJECTION = r"self\.(\w+)\(x\)"
_HALF = _PROJECTION + r"\.chunk\(2, (?:dim=)?-1\)\[([01])\]"


def _recognise(result: ast.expr) -> GatedMLP | None:
    down: list[str] = []
    while call := _call(result):
        down.insert(0, call[0])
        result = call[1]
    match result:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            pass
        case _:
            return None
    for activated, up in ((left, right), (right, left)):
        if call := _call(activated):
            activation, gate = call
            texts = ast.unparse(gate), ast.unparse(up)
            gate_match, up_match = (re.fullmatch(_PROJECTION, text) for text in texts)
            if gate_match and up_match:
                projections = gate_match[1], up_match[1]
                return GatedMLP(activation, projections, tuple(down))
            gate_match, up_match = (re.fullmatch(_HALF, text) for text in texts)
            if gate_match and up_match and gate_match[1] == up_match[1] and texts[0] != texts[1]:
                return GatedMLP(activation, (gate_match[1],), tuple(down), gate_match[2] == "0")
    return None
