"""What the inputs of a model look like: a histogram that streams, merges and stays small.

Every input is counted at the bfloat16 number nearest to it: 65,536 counts, 512 KB, whatever the
number of inputs. So the histogram covers the whole float line, both signs and the tails alike, with
bins of 1/256 to 1/128 of their own magnitude; for bfloat16 inputs it is exact. NaN and the
infinities are bfloat16 numbers too, and are counted like the rest. Beside the counts only the exact
smallest and largest finite input are kept. Integers add up the same in any order, so that parts
counted elsewhere, on other devices or in other processes, merge into exactly the whole.
"""

import math
import os
from threading import Lock
from types import ModuleType
from typing import Any, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from . import arrays, memory
from .cuda import require_cupy
from .declaration import Float64Array, Function, Reference
from .dtypes import DType, all_inputs, widened
from .forecast import Forecast, forecast
from .tables import Table
from .tables.table import read, write

FORMAT = "cupylut calibration 1"

BINS = 65536  # bit patterns of bfloat16
_NAN, _INF, _SIGN = 0x7FC0, 0x7F80, 0x8000
_LARGEST = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)  # type: ignore[no-untyped-call]

# Points that stand for a bin in `weights`: a bin at 4 is 1/64 wide, four segments of a table with
# 1024 nodes, and each of them needs points at several distances from its nodes.
_POINTS = 16

# Inputs counted at a time: few enough that the work arrays stay in the cache, enough that adding up
# all the bins for each of them does not count. A GPU is only kept from allocating too much.
_CHUNK, _GPU_CHUNK = 2**18, 2**24


class Calibration:
    """A histogram of inputs x: how often each bfloat16 number is the nearest one to x.

    ``Calibration(x)`` counts an array, `update` another one, each where it lies, and `merge` adds
    what another calibration has counted; in any order they give the same. Its size is fixed, half a
    megabyte. It can be compared, pickled and saved.

    What it is for: ``tabulate(f, calibration=c)`` and ``search(f, norm="mean", weights=c)`` choose
    the domain on which the mean error over these inputs is smallest; ``tabulate(f,
    domain=c.percentiles(0.1, 99.9))`` clips at percentiles; `forecast` and `outside` say what a
    table and a domain mean for them. (The nodes of a linear table are uniform: where they lie
    follows from the domain, and that is what calibration chooses.)

    Source: section 3.1 of Kim, Kim and Seo, "Lookup Table Optimization for Efficient GPU Inference
    of High-Cost Activation Functions" (2024), which corrects Min and Max by statistics of real
    inputs.

    >>> import cupylut
    >>> from cupylut.data import minilm_gelu_inputs
    >>> calibration = sum(map(Calibration, minilm_gelu_inputs()), Calibration())  # by layer
    >>> calibration
    Calibration(72,000 inputs in [-11.44, 17.5])
    >>> table = cupylut.tabulate("gelu", calibration=calibration)
    >>> print(f"{calibration.forecast(table).mean_abs:.1e}")
    2.1e-06
    >>> uncalibrated = cupylut.tabulate("gelu", kind="linear")
    >>> print(f"{calibration.forecast(uncalibrated).mean_abs:.1e}")
    3.0e-06
    >>> paper = cupylut.tabulate("gelu", domain=(-2.509, 2.712))
    >>> print(f"{calibration.forecast(paper).mean_abs:.1e}")
    3.0e-04
    """

    __slots__ = ("_lock", "_state")

    # One attribute, so that an interrupt comes before or after an update and never inside it.
    _state: tuple[NDArray[np.int64], float, float]

    def __init__(self, *inputs: Any) -> None:
        """Count arrays, if any are given, as `update` does."""
        self._lock = Lock()
        self._state = np.zeros(BINS, np.int64), np.inf, -np.inf
        for x in inputs:
            self.update(x)

    # ---- counting ---------------------------------------------------------------------------

    def update(self, x: Any) -> Self:
        """Count every element of x, and return self.

        x: an array of any library, shape, strides and dtype that `cupylut.gelu` takes, or a number
        or list; of a tensor that requires grad the values. On a GPU it is counted there, and 512 KB
        of counts come back. Threads may update one calibration at the same time.

        Raises what `cupylut.gelu` raises, and TypeError for what JAX is tracing; then, as when
        interrupted, nothing of x has been counted.
        """
        if isinstance(x, Calibration):
            raise TypeError("x is a Calibration: merge adds what another one has counted")
        library = arrays.library_of(x)
        if library.is_traced(x):
            raise TypeError(
                "what JAX is tracing has no values to count: call update outside of jit, grad and "
                "vmap"
            )
        if isinstance(library, arrays.TorchArrays):
            x = x.detach()  # a count has no derivative that could get lost
        with library.context(x):
            view = library.view(x)
            dtype = library.result_dtype(view)
            flat = memory.flat(view) if memory.is_dense(view) else view.reshape(-1)
            self._add(*_tally(flat, dtype))
        return self

    def merge(self, other: "Calibration") -> Self:
        """Add what another calibration has counted, and return self.

        The order of merging makes no difference. ``a + b`` and ``sum(parts, Calibration())`` leave
        all of them as they are. Raises TypeError where `other` is something else.
        """
        if not isinstance(other, Calibration):
            raise TypeError(
                f"merge takes a Calibration, not a {type(other).__name__}: update takes arrays"
            )
        self._add(*other._state)
        return self

    def __add__(self, other: "Calibration") -> "Calibration":
        if not isinstance(other, Calibration):
            return NotImplemented
        return Calibration().merge(self).merge(other)

    def _add(self, counts: NDArray[np.int64], lowest: float, highest: float) -> None:
        with self._lock:
            before, lo, hi = self._state
            self._state = before + counts, min(lo, lowest), max(hi, highest)

    # ---- what was counted -------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many inputs were finite; all that is derived from a calibration is about these."""
        return self.total - self.nans - sum(self.infinities)

    @property
    def total(self) -> int:
        """How many inputs were counted, NaN and infinities included."""
        return int(self._state[0].sum())

    @property
    def nans(self) -> int:
        """How many inputs were NaN."""
        return int(self._state[0][_NAN])

    @property
    def infinities(self) -> tuple[int, int]:
        """How many inputs were −inf and +inf."""
        counts = self._state[0]
        return int(counts[_INF | _SIGN]), int(counts[_INF])

    @property
    def min(self) -> float:
        """The smallest finite input, exactly; ValueError if there was none."""
        self._require_inputs()
        return self._state[1]

    @property
    def max(self) -> float:
        """The largest finite input, exactly; ValueError if there was none."""
        self._require_inputs()
        return self._state[2]

    @property
    def nbytes(self) -> int:
        """The memory that the counts take, in bytes: always the same."""
        return self._state[0].nbytes

    @property
    def weights(self) -> tuple[Float64Array, Float64Array]:
        """Points in ascending order and how many inputs each stands for, which may be a fraction.

        The smallest and the largest input are two of the points. The others spread the inputs of a
        bin evenly over it. Raises ValueError if no finite input was counted.
        """
        self._require_inputs()
        counts, lowest, highest = self._state
        counts = counts.copy()
        counts[[_NAN, _INF, _INF | _SIGN]] = 0
        # One input each lies at the ends; where there is only one input, at both.
        ends = np.array([1.0, 1.0 if self.count > 1 else 0.0])
        bins = _nearest(np.clip([lowest, highest], -_LARGEST, _LARGEST))
        # Which of the zeros is the smallest, or the largest, is chance: take them for one.
        counts[0] += counts[_SIGN]
        counts[_SIGN] = 0
        bins[bins == _SIGN] = 0
        np.subtract.at(counts, bins, ends.astype(np.int64))
        pattern = np.flatnonzero(counts)
        part = ((np.arange(_POINTS) + 0.5) / _POINTS - 0.5) * 2**16
        magnitude = np.maximum(((pattern & ~_SIGN) << 16)[:, None] + part.astype(np.int64), 0)
        points = magnitude.astype(np.uint32).view(np.float32).astype(np.float64)
        points[pattern >= _SIGN] *= -1
        points = np.append(points.clip(lowest, highest), [lowest, highest])
        weights = np.append(np.repeat(counts[pattern] / _POINTS, _POINTS), ends)
        order = np.argsort(points, kind="stable")
        return points[order], weights[order]

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """The values below which `low` and `high` percent of the finite inputs lie: a domain.

        Right to within a bin: 1/128 of the value. 0 and 100 give the exact ends. Raises ValueError
        unless 0 ≤ low < high ≤ 100, or if no finite input was counted.

        >>> Calibration(range(1, 1001)).percentiles(0, 50)
        (1.0, 500.9375)
        """
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles {low}, {high}: give two from 0 to 100, the lower first")
        points, weights = self.weights
        below = np.cumsum(weights)
        rank = np.array([low, high]) / 100 * self.count
        found = points[np.searchsorted(below, rank)]
        return float(found[0]), float(found[1])

    def outside(self, lo: float, hi: float) -> float:
        """The share of the finite inputs that are less than lo or greater than hi.

        Right to within the share of the two bins that lo and hi lie in. Raises ValueError unless
        lo < hi, or if no finite input was counted.
        """
        if not lo < hi:
            raise ValueError(f"domain ({lo}, {hi}): give two numbers, the lower one first")
        points, weights = self.weights
        return float(weights[(points < lo) | (points > hi)].sum() / self.count)

    def forecast(
        self, table: Table, function: str | Function | Reference | None = None
    ) -> Forecast:
        """The mean, root mean square and largest error of a table on these inputs.

        function: what the table stands for, as in `tabulate`. It may be left out where the table is
        of a function that `tabulate` knows by name.

        Raises ValueError if no finite input was counted, and where the function must be given: for
        there is none of that name, or the table is farther from it than its own report says;
        TypeError for what is no table.
        """
        if not isinstance(table, Table):
            raise TypeError(
                f"table is a {type(table).__name__}: give a table, such as cupylut.tabulate makes"
            )
        return forecast(table, function, *self.weights)

    def _require_inputs(self) -> None:
        if self.count == 0:
            seen = f": all of {self.total:,} inputs were NaN or infinite" if self.total else ""
            raise ValueError(f"no finite input was counted{seen}; update(x) counts an array")

    # ---- comparing and keeping --------------------------------------------------------------

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Calibration):
            return NotImplemented
        (mine, *ends), (others, *others_ends) = self._state, other._state
        return ends == others_ends and np.array_equal(mine, others)

    def __repr__(self) -> str:
        if self.total == 0:
            return "Calibration(no inputs)"
        inside = f" in [{self.min:.4g}, {self.max:.4g}]" if self.count else ""
        special = {"NaN": self.nans, "infinite": sum(self.infinities)}
        rest = "".join(f", {n:,} {name}" for name, n in special.items() if n)
        return f"Calibration({self.count:,} inputs{inside}{rest})"

    def __reduce__(self) -> Any:
        return _restore, (FORMAT, *self._sparse())

    def _sparse(self) -> tuple[NDArray[np.int64], float, float]:
        """The state with rows (bin, count) of the bins that are not empty."""
        counts, lowest, highest = self._state
        used = np.flatnonzero(counts)
        return np.stack([used, counts[used]], axis=1), lowest, highest

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration to a file that `Calibration.load` reads back."""
        rows, lowest, highest = self._sparse()
        write(path, {"format": FORMAT, "min": lowest, "max": highest}, rows)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Read a calibration that `save` wrote.

        Raises ValueError where the file is damaged, or is something else or of another version, and
        OSError where it cannot be read.
        """
        fields, rows = read(path, FORMAT, "calibration")
        try:
            return _restore(fields["format"], rows, float(fields["min"]), float(fields["max"]))
        except (IndexError, KeyError, TypeError) as error:
            raise ValueError(f"{os.fspath(path)!r} holds no calibration: {error}") from error


def _restore(form: str, rows: NDArray[np.int64], lowest: float, highest: float) -> Calibration:
    """The inverse of `Calibration._sparse`."""
    if form != FORMAT:
        raise ValueError(f"a calibration of format {form!r}: this version reads {FORMAT!r}")
    calibration, counts = Calibration(), np.zeros(BINS, np.int64)
    counts[rows[:, 0]] = rows[:, 1]
    calibration._add(counts, lowest, highest)
    return calibration


# ---- counting, in NumPy and in CuPy alike -------------------------------------------------------


@np.errstate(all="ignore")
def _tally(x: Any, dtype: DType) -> tuple[NDArray[np.int64], float, float]:
    """The counts of a flat array, taken as `dtype`, and its smallest and largest finite element."""
    on_host = isinstance(x, np.ndarray)
    xp: ModuleType = np if on_host else require_cupy()
    counts = xp.zeros(BINS, np.int64)
    lowest, highest = math.inf, -math.inf
    chunk = min(x.size, _CHUNK if on_host else _GPU_CHUNK)
    bins = xp.empty(chunk, np.intp)
    for start in range(0, x.size, chunk or 1):
        part = x[start : start + chunk].astype(dtype, copy=False)
        used = bins[: part.size]
        if dtype.itemsize == 2:
            used[...] = part.view(np.uint16)
        else:
            values, lo, hi = _finite(part, xp)
            lowest, highest = min(lowest, lo), max(highest, hi)
            used[...] = _nearest(values)
        counts += xp.bincount(used, minlength=BINS)
    on_this_side = counts if on_host else counts.get()
    if dtype.itemsize == 2:
        return _of_patterns(on_this_side, dtype)
    return on_this_side, lowest, highest


def _finite(x: Any, xp: ModuleType) -> tuple[Any, float, float]:
    """x fit for `_nearest`, and its smallest and largest finite element."""
    lo, hi = float(x.min()), float(x.max())
    if lo >= -_LARGEST and hi <= _LARGEST:  # false for NaN
        return x, lo, hi
    finite = xp.isfinite(x)
    rest = x[finite]
    lo, hi = (float(rest.min()), float(rest.max())) if rest.size else (math.inf, -math.inf)
    nan = xp.isnan(x)
    x = xp.where(finite, x.clip(-_LARGEST, _LARGEST), x)
    x[nan] = 0
    x = _as_float32(x)
    x[nan] = math.nan  # the one whose bin is counted; a GPU's conversion gives another one
    return x, lo, hi


@np.errstate(all="ignore")
def _nearest(x: Any) -> Any:
    """The pattern of the bfloat16 number nearest to each x, as uint32.

    Adding half a bin to the pattern of a float32 rounds its magnitude to nearest. x must have no
    finite element that would round to an infinity, and no NaN but the usual one.
    """
    pattern = _as_float32(x).view(np.uint32) + np.uint32(0x8000)
    pattern >>= np.uint32(16)
    return pattern


def _as_float32(x: Any) -> Any:
    """x in float32. CuPy's own conversion of float64 gives 0 for what is subnormal there."""
    y = x.astype(np.float32, copy=False)
    if x.dtype == np.float64 and not isinstance(x, np.ndarray):
        xp = require_cupy()
        spacings = xp.rint(xp.abs(x) * 2.0**149)
        subnormal = spacings <= 2.0**23  # the last one is the smallest normal number
        sign = xp.signbit(x[subnormal]).astype(np.uint32) << np.uint32(31)
        y.view(np.uint32)[subnormal] = spacings[subnormal].astype(np.uint32) | sign
    return y


def _of_patterns(
    patterns: NDArray[np.int64], dtype: DType
) -> tuple[NDArray[np.int64], float, float]:
    """What `_tally` returns, from the counts of all bit patterns of a 16-bit dtype."""
    x = widened(all_inputs(dtype))
    seen = x[(patterns > 0) & np.isfinite(x)]
    counts = np.zeros(BINS, np.int64)
    np.add.at(counts, _nearest(_finite(x, np)[0]), patterns)
    return counts, float(seen.min(initial=math.inf)), float(seen.max(initial=-math.inf))
