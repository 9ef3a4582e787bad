"""Who takes part in the bandwidth benchmark: our tables, our loop, and everybody else's ways.

All work on the same arrays. Ours and the copy write in place of one another; the others allocate
what they return, from pools that by then hold what they need.
"""

import importlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np

from .. import defaults, gated
from ..cuda import require_cupy
from ..dtypes import as_dtype
from ..measuring.environment import installed
from ..measuring.records import leaving_out
from ..measuring.rivals import as_tensor, expression, normal, special_functions, torch_function
from ..measuring.timing import FLOOR, Run
from ..paper import activation
from ..tables import KINDS, Table
from ..tabulate import tabulate
from . import formula
from .cells import EAGER, EMPTY_LOOP, GATED, NEW_GELU, TORCH_COMPILE

FUNCTIONS = (*formula.FUNCTIONS, GATED)

LeftOut: TypeAlias = Callable[[str], None]

# The arrays that are alive at a time at most, in outputs: those of the chain of operations in
# PyTorch's pool, and of the expression in CuPy's.
MOST_ARRAYS = 12

# PyTorch gets arrays as rows of so many elements, as layers have them: torch.compile, which
# compiles for all numbers of rows at once, loads vectors only where it knows what divides a size.
WIDTH = 1024


@cache
def tables(function: str, dtype: str) -> Mapping[str, Table]:
    """Every kind of table that there is of a function."""
    found = {}
    for kind in KINDS:
        try:
            found[kind] = tabulate(function, dtype, kind=kind)
        except ValueError:  # not of this function, or not in this dtype
            continue
    return found


def default_kind(function: str, dtype: str) -> str:
    """The kind of table that the library takes of itself."""
    found = as_dtype(dtype)
    if function == GATED:
        return defaults.product_table("silu", found).kind
    return defaults.default_table(function, found).kind


def contestants(
    function: str, dtype: str, elements: int, device: str, left_out: LeftOut
) -> dict[str, Run]:
    """What is timed for a case on "cpu" or "cuda", by name; each has run once.

    A contestant that fails is left out, with the reason, so that the others are not lost.
    """
    xp = require_cupy() if device == "cuda" else np
    number = 2 if function == GATED else 1
    source = normal(xp, number * elements, dtype)
    inputs = [source[i * elements : (i + 1) * elements] for i in range(number)]
    half = elements * (number + 1) // 2  # a copy of so many moves the same bytes
    target = xp.empty(half, source.dtype)
    out = target[:elements]
    found: dict[str, Run] = {FLOOR: partial(xp.copyto, target, source[:half])}
    found |= _ours(function, dtype, inputs, out)
    found |= _formulas(function, inputs, out) if device == "cuda" else {}
    found |= _expressions(function, inputs, device)
    if installed("torch") is not None:
        found |= _torch(function, inputs, device, left_out)
    return {who: run for who, run in found.items() if _runs(who, run, device, left_out)}


def _ours(function: str, dtype: str, inputs: Sequence[Any], out: Any) -> dict[str, Run]:
    if function == GATED:
        gate, up = inputs
        found = as_dtype(dtype)
        other = defaults.default_table("silu", defaults.compute_dtype(found))
        return {
            other.kind: partial(_product, other, gate, up, out),
            default_kind(function, dtype): partial(gated.swiglu, gate, up, out=out),
        }
    return {kind: partial(t, *inputs, out=out) for kind, t in tables(function, dtype).items()}


def _product(table: Table, gate: Any, up: Any, out: Any) -> Any:
    gated.product(table, gate, up, out)
    return out


def _formulas(function: str, inputs: Sequence[Any], out: Any) -> dict[str, Run]:
    unary = "silu" if function == GATED else function
    names = {kind: formula.name(kind, unary) for kind in formula.NAMESPACES}
    names |= {EMPTY_LOOP: formula.LOOP}
    return {who: partial(formula.run, name, *inputs, out) for who, name in names.items()}


def _expressions(function: str, inputs: Sequence[Any], device: str) -> dict[str, Run]:
    who, special = special_functions(device)
    if function != GATED:
        return {who: partial(expression, special, function, *inputs)}
    gate, up = inputs
    return {who: lambda: expression(special, "silu", gate) * up}


def _torch(function: str, inputs: Sequence[Any], device: str, left_out: LeftOut) -> dict[str, Run]:
    torch = installed("torch")
    if device == "cuda" and not torch.cuda.is_available():
        left_out(f"{EAGER}: it sees no CUDA device")
        return {}
    tensors = [as_tensor(torch, x).view(-1, math.gcd(x.size, WIDTH)) for x in inputs]
    eager = torch_expression(function)
    found: dict[str, Run] = {EAGER: partial(eager, *tensors)}
    if function == "gelu_tanh":
        found[NEW_GELU] = partial(new_gelu, *tensors)
    if device == "cuda":
        if why := activation.why_not_compiled(device):
            left_out(f"{TORCH_COMPILE}: {why}")
        else:
            found[TORCH_COMPILE] = partial(compiled(function), *tensors)
    return found


def torch_expression(function: str) -> Callable[..., Any]:
    """What one writes with PyTorch."""
    torch = importlib.import_module("torch")
    if function == GATED:
        return lambda gate, up: torch.nn.functional.silu(gate) * up
    return torch_function(torch, function)


def new_gelu(x: Any) -> Any:
    """OpenAI's GELU as GPT-2 has it, a kernel for each operation: `roofline.NEW_GELU_KERNELS`."""
    return 0.5 * x * (1.0 + (0.7978845608028654 * (x + 0.044715 * x**3)).tanh())


@cache
def compiled(function: str) -> Callable[..., Any]:
    """torch.compile of the same, once for all sizes."""
    torch = importlib.import_module("torch")
    # PyTorch's own functions share one frame in Dynamo, and with it one limit of compilations,
    # beyond which they would run uncompiled without a word.
    config = importlib.import_module("torch._dynamo").config
    config.recompile_limit = max(config.recompile_limit, 64)
    found: Callable[..., Any] = torch.compile(
        torch_expression(function), dynamic=True, fullgraph=True
    )
    return found


def _runs(who: str, run: Run, device: str, left_out: LeftOut) -> bool:
    """Whether it runs; if it does, everything is compiled afterwards."""
    with leaving_out(who, left_out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
        if device == "cuda":
            require_cupy().cuda.runtime.deviceSynchronize()
        return True
    return False
