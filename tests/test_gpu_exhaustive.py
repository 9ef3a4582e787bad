"""All 2³² float32 inputs on a device: within one ulp of CuPy's own float64 functions.

The same comparison runs in NumPy on a part of the inputs, so that it is itself tested anywhere.
"""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.special

import cupylut
from cupylut import tabulate

CHUNK = 2**26
NAMES = ("gelu", "gelu_tanh", "silu", "quick_gelu")
by_name = pytest.mark.parametrize("name", NAMES)


def reference(xp: ModuleType, special: ModuleType, name: str, x: Any) -> Any:
    """f(x) in float64 without cancellation."""
    if name == "gelu":
        return x * special.erfc(x * -np.sqrt(0.5)) / 2
    z = np.sqrt(8 / np.pi) * (x + 0.044715 * x * x * x) if name == "gelu_tanh" else x
    z = 1.702 * x if name == "quick_gelu" else z
    return xp.where(z < 0, x * xp.exp(z) / (1 + xp.exp(z)), x / (1 + xp.exp(-xp.abs(z))))


def widened(xp: ModuleType, x: Any) -> Any:
    """x in float64, by its bits where it is subnormal: CuPy's own conversion gives 0 there."""
    magnitude = (x.view(np.uint32) & np.uint32(0x7FFFFFFF)).astype(np.float64) * 2.0**-149
    wide = x.astype(np.float64)
    return xp.where(magnitude < 2.0**-126, xp.copysign(magnitude, wide), wide)


def worst_ulp(xp: ModuleType, special: ModuleType, name: str, patterns: Any) -> float:
    """The largest error of cupylut's function in ulp over these bit patterns; NaN must give NaN."""
    x = patterns.view(np.float32)
    y = getattr(cupylut, name)(x)
    assert bool((xp.isnan(y) == xp.isnan(x)).all())
    finite = xp.isfinite(x)
    wide, result = widened(xp, x[finite]), widened(xp, y[finite])
    if not wide.size:
        return 0.0
    exact = reference(xp, special, name, wide)
    _, exponent = xp.frexp(exact)
    spacing = xp.ldexp(xp.ones_like(exact), xp.clip(exponent - 24, -149, 104))
    return float((xp.abs(result - exact) / spacing).max())


@pytest.mark.filterwarnings("ignore:.* encountered:RuntimeWarning")
@by_name
def test_the_comparison_finds_what_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    assert worst_ulp(np, scipy.special, name, patterns) < 1
    gelu = getattr(cupylut, name)
    monkeypatch.setattr(cupylut, name, lambda x: np.nextafter(gelu(x), np.float32(np.inf)))
    assert worst_ulp(np, scipy.special, name, patterns) > 1


@pytest.mark.gpu
@by_name
def test_every_float32_on_the_device(name: str) -> None:
    import cupy  # noqa: TID251
    import cupyx.scipy.special

    assert tabulate(name).kind == "gate"
    worst = 0.0
    for start in range(0, 2**32, CHUNK):
        patterns = cupy.arange(start, start + CHUNK, dtype=cupy.uint32)
        worst = max(worst, worst_ulp(cupy, cupyx.scipy.special, name, patterns))
    print(f"{name}: {worst:.4f} ulp")
    assert worst == pytest.approx(tabulate(name).worst_ulp, abs=1e-3)
    assert worst < 1
