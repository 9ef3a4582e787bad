"""How many elements NumPy handles at a time, and lookups by bit pattern in such chunks."""

from typing import Any

from numpy.typing import NDArray

# Few enough that their work arrays, of indices at 8 bytes each or 3.4 MB for interpolation, stay in
# a cache; enough that the cost of calling NumPy, a microsecond a step, does not count.
CHUNK = 65536


def gather(results: NDArray[Any], x: NDArray[Any], out: NDArray[Any]) -> None:
    """out = results[bit pattern of x], for 1-D arrays; of equal item sizes the same memory too."""
    patterns, found = x.view(f"u{x.itemsize}"), out.view(results.dtype)
    for i in range(0, x.size, CHUNK):
        chunk = slice(i, i + CHUNK)
        results.take(patterns[chunk], out=found[chunk], mode="wrap")
