"""Which gated MLP is it? `gated_mlp` reads a method of a module's class, and says.

It knows two forms, whatever the names in them and however many statements they are spread over:

    down(f(gate(x)) * up(x))                  Llama, OLMo, OLMo2, Mistral, Qwen2, Gemma, …
    a, b = packed(x).chunk(2, dim=-1)
    down(f(a) * b)                            Phi-3, GLM, ModernBERT, …

f is an attribute, or a function that is called by name, as `functional.silu` is in LFM2. x may go
through others first, such as a norm. There may be no projections: a mixture of experts has a method
for the product alone.

A method that does anything else, or decides anything, is none, but for T5's: whether the product
has the dtype of the next layer's weight. That is also why it is read and not run on stand-ins for
tensors, as torch.fx does: they see one branch of a decision only.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .source import function_called, scope_of, tree_of


@dataclass(frozen=True)
class GatedMLP:
    """y = last(… first(f(gate)·up)) for the attributes of a module that these names stand for.

    activation: f; or None, and function says what the method calls by name.
    projections: of x, to gate and up; or one to both, as the two halves of its last dimension; or
    none, where x is both. gate_first: whether the gate is the first half. down: what the product
    goes through in turn; a weight among them gives it its dtype, as `like_weight` does. before:
    what x goes through in turn before all that.
    """

    activation: str | None
    projections: tuple[str, ...]
    down: tuple[str, ...]
    gate_first: bool = True
    function: str | None = None
    before: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def gated_mlp(forward: Callable[..., Any]) -> GatedMLP | None:
    """The gated MLP that a method is, or None; None also where its source is missing.

    >>> from transformers.models.llama.modeling_llama import LlamaMLP
    >>> gated_mlp(LlamaMLP.forward)
    GatedMLP(activation='act_fn', projections=('gate_proj', 'up_proj'), down=('down_proj',), \
gate_first=True, function=None, before=())
    """
    function = tree_of(forward)
    if function is None or hasattr(forward, "__wrapped__"):  # the source is not all that it does
        return None
    function = _Conversions().visit(function)
    calls = sum(isinstance(node, ast.Call) for node in ast.walk(function))
    try:
        result = _result(function, scope_of(forward))
    except KeyError:
        return None
    mlp = None if result is None else _recognise(result)
    # Calls that the result does not depend on, or that were two and look like one, are not lost.
    return mlp if mlp is not None and calls == _calls(mlp) else None


def _calls(mlp: GatedMLP) -> int:
    halving = len(mlp.projections) < 2
    return len(mlp.before) + 1 + len(mlp.projections) + halving + len(mlp.down)


_LIKE_WEIGHT = re.compile(
    r"if isinstance\(self\.(\w+)\.weight, torch\.Tensor\)"
    r" and (\w+)\.dtype != self\.\1\.weight\.dtype"
    r" and \(?self\.\1\.weight\.dtype != torch\.int8\)?:\n"
    r"    \2 = \2\.to\(self\.\1\.weight\.dtype\)"
)


class _Conversions(ast.NodeTransformer):
    """Makes a call of T5's conversion, which `like_weight` is."""

    def visit_If(self, node: ast.If) -> ast.stmt:
        found = _LIKE_WEIGHT.fullmatch(ast.unparse(node))
        if found is None:
            return node
        layer, x = found.groups()
        weight = ast.Attribute(ast.Name("self"), f"{layer}.weight")
        return ast.Assign([ast.Name(x)], ast.Call(weight, [ast.Name(x)], []))


class _Inline(ast.NodeTransformer):
    """Puts their values in the place of variables; raises KeyError for any other name.

    An activation that is called by name becomes a constant that is called.
    """

    def __init__(self, values: dict[str, ast.expr], scope: Mapping[str, Any]) -> None:
        self.values = values
        self.scope = scope

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = function_called(node, self.scope)
        if function is None:
            return self.generic_visit(node)
        return ast.Call(ast.Constant(function), [self.visit(node.args[0])], [])

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values[node.id]


def _result(function: ast.FunctionDef, scope: Mapping[str, Any]) -> ast.expr | None:
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
    inline = _Inline(values, scope)
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


def _activated(node: ast.expr) -> tuple[str | None, str | None, ast.expr] | None:
    """The attribute or else the function that is called, and its argument."""
    match node:
        case ast.Call(func=ast.Constant(value=str(function)), args=[argument]):
            return None, function, argument
    call = _call(node)
    return None if call is None else (call[0], None, call[1])


_SOURCE = re.compile(r"((?:self\.\w+\()*)x\)*(?:\.chunk\(2, (?:dim=)?-1\)\[([01])\])?")


def _source(node: ast.expr) -> tuple[list[str], str | None] | None:
    """What x goes through in turn to become this, and which half of that it is, if only one."""
    found = _SOURCE.fullmatch(ast.unparse(node))
    return found and (re.findall(r"\w+(?=\()", found[1])[::-1], found[2])


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
        if found := _activated(activated):
            activation, function, gate = found
            match _source(gate), _source(up):
                case ([*before, first], None), ([*same, second], None) if before == same:
                    projections, half = [first, second], "0"
                case (names, str(half)), (same, str(other)) if names == same and half != other:
                    before, projections = names[:-1], names[-1:]
                case _:
                    continue
            return GatedMLP(
                activation, tuple(projections), tuple(down), half == "0", function, tuple(before)
            )
    return None
