"""Reads the source of a method: its syntax tree, and the activations that it calls by name.

`functional.silu(gate)` in a method is no attribute of the module. What the name stands for is
looked up as Python does, among the globals of the method.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

from transformers.activations import ACT2FN

from .activations import CHEAP, Verdict, verdict


def tree_of(method: Callable[..., Any]) -> ast.FunctionDef | None:
    """The syntax tree of a method; None where its source is missing, and of a lambda."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return None
    return tree if isinstance(tree, ast.FunctionDef) else None


def scope_of(method: Callable[..., Any]) -> dict[str, Any]:
    """The globals of a method that no variable of its own hides."""
    function: Any = inspect.unwrap(method)
    code = function.__code__
    hidden = code.co_varnames + code.co_cellvars + code.co_freevars
    return {name: value for name, value in function.__globals__.items() if name not in hidden}


def _value(node: ast.expr, scope: Mapping[str, Any]) -> Any:
    """What a name, or a dotted one through modules, stands for; else None."""
    match node:
        case ast.Name(id=name):
            return scope.get(name)
        case ast.Attribute(value=owner, attr=name):
            module = _value(owner, scope)
            return vars(module).get(name) if isinstance(module, ModuleType) else None
    return None


def function_called(call: ast.Call, scope: Mapping[str, Any]) -> str | None:
    """The function that a call by name with one argument computes, if it is known."""
    match call:
        case ast.Call(func=func, args=[_], keywords=keywords):
            value = _value(func, scope)
            settings = {
                keyword.arg: keyword.value.value
                for keyword in keywords
                if keyword.arg is not None and isinstance(keyword.value, ast.Constant)
            }
            if callable(value) and len(settings) == len(keywords):
                return verdict(partial(value, **settings) if settings else value).function
    return None


@lru_cache(maxsize=1024)
def written_out(method: Callable[..., Any]) -> tuple[str, ...]:
    """What a method calls by name that costs more than a copy, each once, in its own words.

    >>> from transformers.models.whisper.modeling_whisper import WhisperEncoder
    >>> written_out(WhisperEncoder.forward)
    ('nn.functional.gelu',)
    """
    tree = tree_of(method)
    if tree is None:
        return ()
    scope = scope_of(method)
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return tuple(dict.fromkeys(ast.unparse(func) for func in called if _costs(func, scope)))


def _costs(func: ast.expr, scope: Mapping[str, Any]) -> bool:
    match func:
        case ast.Subscript(value=of):  # ACT2FN[…](x)
            return _value(of, scope) is ACT2FN
    return verdict(_value(func, scope)) not in (Verdict(), Verdict(reason=CHEAP))
