"""Makes hard_cases.json: the inputs whose 16-bit result float64 would round wrongly.

A float64 value decides how f(x) rounds to 16 bits unless it is within its own error of the middle
between two results. Such inputs (mostly odd subnormals x, where f(x) = x/2 to all digits of float64
and x/2 is exactly such a middle) are decided here with mpmath, which the library itself does not
need. `python -m cupylut.data.hard_cases` writes the file again.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cupylut.accuracy import all_inputs, as_dtype, round_to, ulp, widened
from cupylut.functions import FUNCTIONS

# How near to a middle, in ulp of the result, float64 is not trusted: 2⁻³⁰ is a million times its
# error, and still leaves nothing but true ties and near-ties.
TRUST = 2.0**-30

# Enough digits to tell x/2 + x²·0.4 from x/2 at the smallest bfloat16, 2⁻¹³³.
DIGITS = 80


def exact_functions() -> dict[str, Callable[[Any], Any]]:
    """The functions of `FUNCTIONS` in mpmath, to `DIGITS` digits."""
    import mpmath

    mp = mpmath.mp.clone()
    mp.dps = DIGITS
    c = 2 * mp.sqrt(2 / mp.pi)
    return {
        "gelu": lambda x: x * mp.erfc(-mp.mpf(x) / mp.sqrt(2)) / 2,
        "gelu_tanh": lambda x: x / (1 + mp.exp(-c * (x + mp.mpf(x) ** 3 * 44715 / 10**6))),
        "silu": lambda x: x / (1 + mp.exp(-mp.mpf(x))),
        "quick_gelu": lambda x: x / (1 + mp.exp(-mp.mpf(x) * 1702 / 1000)),
        "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(mp.mpf(x)))),
        "softplus": lambda x: mp.log1p(mp.exp(mp.mpf(x))),
        "sigmoid": lambda x: 1 / (1 + mp.exp(-mp.mpf(x))),
        "tanh": lambda x: mp.tanh(mp.mpf(x)),
    }


def untrusted(name: str, dtype_name: str) -> tuple[Any, Any]:
    """The finite inputs that float64 does not decide, and its values there."""
    x = all_inputs(as_dtype(dtype_name))
    x = x[np.isfinite(widened(x))]
    y = FUNCTIONS[name](x)
    in_ulp = np.abs(y) / ulp(y, dtype_name)
    near = np.abs(in_ulp - np.floor(in_ulp) - 0.5) < TRUST
    return x[near], y[near]


def decide(exact: Any, approximate: float, dtype_name: str) -> Any:
    """Round an mpmath number near a middle: on which side of the middle does it lie?"""
    spacing = float(ulp(approximate, dtype_name))
    below = np.floor(approximate / spacing)
    middle = (below + 0.5) * spacing
    if exact == middle:
        return round_to(middle, dtype_name)
    return round_to((below + (exact > middle)) * spacing, dtype_name)


def hard_cases(name: str, dtype_name: str) -> list[tuple[int, int]]:
    """Pairs of patterns (x, f(x)) where the float64 value rounds to another result."""
    exact = exact_functions()[name]
    cases = []
    for x, approximate in zip(*untrusted(name, dtype_name), strict=True):
        result = decide(exact(float(x)), float(approximate), dtype_name)
        # A result of zero keeps the sign of the exact value.
        result = np.copysign(result, round_to(approximate, dtype_name))
        if result.view(np.uint16) != round_to(approximate, dtype_name).view(np.uint16):
            cases.append((int(x.view(np.uint16)), int(result.view(np.uint16))))
    return cases


def main() -> None:
    """Write the file beside this one."""
    cases = {
        name: {
            dtype: found for dtype in ("float16", "bfloat16") if (found := hard_cases(name, dtype))
        }
        for name in FUNCTIONS
    }
    path = Path(__file__).with_name("hard_cases.json")
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n", encoding="utf-8")
    for name, by_dtype in cases.items():
        print(name, {dtype: len(found) for dtype, found in by_dtype.items()})


if __name__ == "__main__":
    main()
