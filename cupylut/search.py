"""The error-optimal domain of a linear table: where to put Min and Max.

A table on [lo, hi] is wrong in two ways: inside, by interpolation, h²/8·|f″| and thus the less the
narrower the domain; outside, by clipping, the distance of f from its tail and thus the less the
wider the domain.

For a worst-case norm both errors are monotone, so the optimum is where they meet. For every
clipping error e there is a narrowest domain [lo(e), hi(e)] whose clipping stays within e on either
side; the interpolation error on it falls as e grows. The root of

    interpolation error on [lo(e), hi(e)] = e

gives the best domain among all pairs of ends, without a two-dimensional search and without local
minima. With few nodes a narrower domain is not always interpolated better: it may lose the node at
a peak, so that `scipy.optimize.direct` looks at domains around this one. For the mean under a
density the two errors add up, and `scipy.optimize.minimize` looks for both ends from there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from .calibration import Calibration
from .declaration import Float64Array, Function, Reference, Tail
from .names import as_function
from .tables.linear import Nodes, check_layout, node_positions, node_values

Norm: TypeAlias = Literal["max", "mean", "relative"]

# Where a tail must have been reached, and how closely for f to have that tail at all.
_FARTHEST, _TAIL_TOLERANCE = 2.0**20, 1e-3
_POINTS = 257  # to an octave

# Below this, the distance of f from its tail is the rounding of float64.
_SMALLEST = 1e-12
_FINELY = 15  # points of a segment that show what a kink in it costs, but for some per cent
_FEW = 16  # nodes, of which one more at a peak counts


@dataclass(frozen=True)
class Domain:
    """The optimum found by `search`: lo, hi, and the table's error there in the norm of the search.

    That is of a table of real numbers; what a dtype rounds besides is in the report of one's own.
    `tabulate` takes it for its ``domain``, and ``lo, hi = search(...)`` takes it apart.
    """

    lo: float
    hi: float
    error: float

    def __iter__(self) -> Iterator[float]:
        """lo and hi."""
        return iter((self.lo, self.hi))


@np.errstate(all="ignore")
def search(
    function: str | Function | Reference,
    size: int = 1024,
    *,
    norm: Norm = "max",
    nodes: Nodes = "plain",
    weights: Calibration | tuple[ArrayLike, ArrayLike] | None = None,
    left: float | str | Tail | None = None,
    right: float | str | Tail | None = None,
) -> Domain:
    """The [lo, hi] on which a linear table of f is closest to f: argmin ‖table − f‖.

    norm: "max" is max |y − f|; "relative" is max |y − f| / max(1, |f|), absolute for small values
    and relative for large ones; "mean" is the mean of |y − f| over inputs distributed as N(0, 1),
    or as `weights` says.

    weights: a `cupylut.Calibration`, or points and how much each of them counts, for "mean". A
    sample of real inputs x is ``(x, np.ones_like(x))``.

    function, left, right, size, nodes: as in `tabulate`.

    f is looked at from 0 to 2²¹ on either side. What lies beyond, or is narrower than a hundredth
    of its distance from 0, can be missed, and `error` does not count it then.

    Raises ValueError for an unknown function or norm, a size that makes no table, weights that are
    negative or all at one point, and a function that is not finite there or does not approach its
    tails.

    Source: section 3.1 of Kim, Kim and Seo, "Lookup Table Optimization for Efficient GPU Inference
    of High-Cost Activation Functions" (2024), which optimises Min and Max for the least difference
    of outputs.

    >>> found = search("gelu", size=1024)
    >>> f"[{found.lo:.2f}, {found.hi:.2f}] {found.error:.1e}"
    '[-4.64, 4.64] 8.2e-06'
    """
    f = as_function(function, left, right)
    check_layout(0.0, 1.0, size, nodes)
    if norm not in get_args(Norm):
        raise ValueError(f"norm={norm!r}: choose one of {', '.join(get_args(Norm))}")
    if weights is not None and norm != "mean":
        raise ValueError(f'weights apply to norm="mean", not to norm={norm!r}')
    worst = _WorstCase(f, size, nodes, norm)
    lo, hi = worst.optimum()
    if norm != "mean":
        worst.look_between_nodes(max(_FINELY, 512 // (size - 1)))
        if size <= _FEW:
            lo, hi = worst.optimum_of_few_nodes(lo, hi)
        return Domain(lo, hi, worst(lo, hi))
    points = weights.weights if isinstance(weights, Calibration) else weights
    mean = _Mean(f, size, nodes, points)
    lo, hi = mean.optimum(lo, hi)
    return Domain(lo, hi, mean(lo, hi))


class _WorstCase:
    """max |y − f|, or with norm="relative" max |y − f| / max(1, |f|), over the whole line."""

    def __init__(self, f: Function, size: int, nodes: Nodes, norm: Norm) -> None:
        self.f, self.size, self.nodes = f, size, nodes
        self.left, self.right = f.tails
        self.relative = norm == "relative"
        # The middle of a segment is where a smooth f is worst; few segments need more points.
        self.look_between_nodes(512 // (size - 1))
        # Crowded around 0, as far out as the tails need.
        lo, hi = np.arcsinh([-reach(f, -1.0), reach(f, 1.0)])
        self.grid = np.sinh(np.linspace(lo, hi, 4097))
        below, above = self.clipping(self.grid)
        self.left_sup = np.maximum.accumulate(below)
        self.right_sup = np.maximum.accumulate(above[::-1])[::-1]

    def look_between_nodes(self, points: int) -> None:
        """Take so many points of each segment, or one more: the middle among them."""
        points = max(1, points) | 1
        self.inner = (np.arange(points) + 0.5) / points

    def weigh(self, error: Float64Array, exact: Float64Array) -> Float64Array:
        return error / np.maximum(1, np.abs(exact)) if self.relative else error

    def clipping(self, x: ArrayLike) -> tuple[Float64Array, Float64Array]:
        """The error at x if it lies in the left tail, and if it lies in the right one."""
        exact = self.f(x)
        return (
            self.weigh(np.abs(self.left(x) - exact), exact),
            self.weigh(np.abs(self.right(x) - exact), exact),
        )

    def interpolation(self, lo: float, hi: float) -> float:
        """The largest error inside the domain."""
        x = node_positions(lo, hi, self.size)
        y = node_values(self.f, lo, hi, self.size, self.nodes)
        inside = (x[:-1, None] + (x[1] - x[0]) * self.inner).ravel()
        between = (y[:-1, None] + np.diff(y)[:, None] * self.inner).ravel()
        at = np.concatenate([x, inside])
        exact = self.f(at)
        return float(self.weigh(np.abs(np.concatenate([y, between]) - exact), exact).max())

    def __call__(self, lo: float, hi: float) -> float:
        left, _ = self.clipping(np.append(self.grid[self.grid <= lo], lo))
        _, right = self.clipping(np.append(self.grid[self.grid >= hi], hi))
        return max(self.interpolation(lo, hi), float(left.max()), float(right.max()))

    def narrowest(self, e: float) -> tuple[float, float]:
        """The narrowest domain whose clipping error is at most e on either side.

        Where the tails alone are within e, the ends come out crossed, and every domain between
        them will do: then they are swapped.
        """
        beyond = int(np.searchsorted(self.left_sup, e, side="right"))
        lo = self._crossing(lambda x: float(self.clipping(x)[0]) - e, beyond - 1)
        within = self.grid.size - int(np.searchsorted(self.right_sup[::-1], e, side="right"))
        hi = self._crossing(lambda x: float(self.clipping(x)[1]) - e, within - 1)
        return min(lo, hi), max(lo, hi)

    def _crossing(self, gap: Callable[[float], float], i: int) -> float:
        """Where the gap is 0 between grid points i and i + 1; the nearer end of the grid else."""
        from scipy.optimize import brentq  # a quarter of a second that importing need not cost

        a, b = (float(x) for x in self.grid[np.clip([i, i + 1], 0, self.grid.size - 1)])
        return float(brentq(gap, a, b)) if gap(a) * gap(b) < 0 else b

    def optimum(self) -> tuple[float, float]:
        from scipy.optimize import brentq

        def excess(log_e: float) -> float:
            inside = self.interpolation(*self.narrowest(np.exp(log_e)))
            return float(np.log(max(inside, 1e-300))) - log_e

        log_e = np.log(_SMALLEST)
        # Below the largest clipping error, at which any domain would do, the narrowest one too.
        largest = np.log(max(self.left_sup[-1], self.right_sup[0], _SMALLEST)) - 1e-9
        if excess(log_e) > 0 > excess(largest):
            log_e = brentq(excess, log_e, largest, xtol=1e-4)
        lo, hi = self.narrowest(np.exp(log_e))
        if self.f.symmetry != "none" and not self.relative:  # but for roundings it is so already
            lo, hi = (lo - hi) / 2, (hi - lo) / 2
        return (lo, hi) if lo < hi else (lo - _SMALLEST, hi + _SMALLEST)

    def optimum_of_few_nodes(self, lo: float, hi: float) -> tuple[float, float]:
        """The best of the domains around one that would be the best of many nodes."""
        from scipy.optimize import direct

        width = hi - lo
        bounds = [(lo - width, lo + width / 2), (hi - width / 2, hi + width)]
        found = direct(
            lambda ends: self(*ends) if ends[0] < ends[1] else np.inf, bounds, maxfun=400
        )
        starts = [(lo, hi), (float(found.x[0]), float(found.x[1]))]
        return min((_improved(self, *ends, 0.05) for ends in starts), key=lambda ends: self(*ends))


class _Mean:
    """The mean of |y − f| over weighted points."""

    def __init__(
        self, f: Function, size: int, nodes: Nodes, weights: tuple[ArrayLike, ArrayLike] | None
    ) -> None:
        self.f, self.size, self.nodes = f, size, nodes
        self.left, self.right = f.tails
        self.is_smooth = weights is None
        if weights is None:
            x = np.linspace(-8.5, 8.5, 32769)
            w = np.exp(-x * x / 2)
        else:
            try:
                x, w = (np.asarray(a, np.float64).ravel() for a in weights)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    "weights: give a Calibration, or points and how much each of them counts"
                ) from error
            if x.size != w.size or not (np.isfinite(x).all() and np.isfinite(w).all()):
                raise ValueError("weights: give as many finite weights as finite points")
            if (w < 0).any() or not w.max(initial=0) > 0:
                raise ValueError("weights: they must not be negative, and not all zero")
            if (x == x[0]).all():
                raise ValueError(f"weights: every input is {x[0]:g}, and any domain around it does")
        order, w = np.argsort(x, kind="stable"), w / w.max()  # whose sum may overflow otherwise
        self.x, self.w = x[order], w[order] / w.sum()
        self.exact = f(self.x)

    def __call__(self, lo: float, hi: float) -> float:
        nodes = node_positions(lo, hi, self.size)
        y = np.interp(self.x, nodes, node_values(self.f, lo, hi, self.size, self.nodes))
        # In float32 the last inputs at an end may be taken for the tail's.
        margin = (hi - lo) * 2.0**-22
        y = np.where(self.x < lo + margin, self.left(self.x), y)
        y = np.where(self.x > hi - margin, self.right(self.x), y)
        return float(self.w @ np.abs(y - self.exact))

    def optimum(self, lo: float, hi: float) -> tuple[float, float]:
        if self.is_smooth:
            return _improved(self, lo, hi, 0.2)
        # Where the ends lie between two inputs makes many shallow minima: start from wide and from
        # narrow, and look around the better one again.
        starts = [(lo, hi)]
        inside = max(lo, float(self.x[0])), min(hi, float(self.x[-1]))
        if inside != starts[0] and inside[0] < inside[1]:
            starts.append(inside)
        ends = min((_improved(self, *start, 0.2) for start in starts), key=lambda e: self(*e))
        return _improved(self, *ends, 0.03)


def _improved(
    error: Callable[[float, float], float], lo: float, hi: float, step: float
) -> tuple[float, float]:
    """Ends with no larger an error, looked for from [lo, hi] and this part of its width away."""
    from scipy.optimize import minimize

    def log_error(ends: Sequence[float]) -> float:
        return np.log(max(error(*ends), 1e-300)) if ends[0] < ends[1] else np.inf

    width = hi - lo
    simplex = np.array([(lo, hi), (lo + step * width, hi), (lo, hi - step * width)])
    options = {"initial_simplex": simplex, "xatol": 1e-4 * width, "fatol": 1e-6}
    found = minimize(log_error, simplex[0], method="Nelder-Mead", options=options)
    return float(found.x[0]), float(found.x[1])


def reach(f: Function, sign: float) -> float:
    """How far out f is its tail to the last bit of float64, at most _FARTHEST.

    Every octave from 1 to 2·_FARTHEST is looked at in _POINTS places, so that what f does beyond
    its first meeting with the tail counts too. Unseen is only what is narrower than a 256th of its
    distance from 0, or farther out.

    Raises ValueError where f is not finite on the way, or does not approach the tail.
    """
    tail = f.left if sign < 0 else f.right
    assert tail is not None
    octaves = np.exp2(np.arange(np.log2(_FARTHEST) + 1))
    x = sign * octaves[:, None] * np.linspace(1, 2, _POINTS)
    exact = f(x.ravel()).reshape(x.shape)
    if not np.isfinite(exact).all():
        raise ValueError(
            f"{f.name}({x[~np.isfinite(exact)][0]:g}) is not finite: give a function of every "
            "number, such as f(np.clip(x, lo, hi))"
        )
    off = exact - tail(x)
    gap = np.abs(off)
    noise = 8 * np.finfo(float).eps * abs(float(exact[-1, -1]))
    if gap[-1, -1] > _TAIL_TOLERANCE * max(1.0, abs(tail.intercept)) + noise:
        side = "left" if sign < 0 else "right"
        raise ValueError(
            f"{f.name}({x[-1, -1]:g}) = {exact[-1, -1]:.6g}, which is {off[-1, -1]:+.3g} beside "
            f"the {side} tail, {tail}: give the tail that the function approaches"
        )
    far = (gap > 1e-17 + 4 * np.finfo(float).eps * np.abs(exact)).any(axis=1)
    return float(min(2 * octaves[far].max(initial=0.5), _FARTHEST))
