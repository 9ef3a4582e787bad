"""Threads for the NumPy half: large arrays in parts, one thread each.

NumPy lets go of Python's lock while it works on an array, so the parts run at the same time. Every
result depends on its own input alone, so they are the same for any number of threads.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import Any

from numpy.typing import NDArray

from .tables.chunks import CHUNK

_workers: ContextVar[int] = ContextVar("cupylut_workers", default=1)


@contextmanager
def set_workers(workers: int) -> Iterator[None]:
    """Evaluate NumPy arrays, and CPU arrays of other libraries, with so many threads.

    As of `scipy.fft.set_workers`, it holds inside the with statement, in this thread or task.
    Arrays of fewer than 131,072 elements stay with one thread. Packed arrays, and those with a bias
    or scale, are shared out by rows, so that one row stays with one thread. The default is one.

    Raises ValueError for anything but a whole number from 1 on.

    >>> import numpy as np, cupylut
    >>> x = np.zeros(1_000_000, np.float32)
    >>> with cupylut.set_workers(2):
    ...     y = cupylut.gelu(x)
    """
    number = isinstance(workers, Real) and not isinstance(workers, bool)
    if not number or workers < 1 or workers % 1:  # the rest of infinity is NaN
        raise ValueError(f"workers={workers!r}: give a whole number of threads, 1 or more")
    token = _workers.set(int(workers))
    try:
        yield
    finally:
        _workers.reset(token)


def run(evaluate: Callable[..., None], *arrays: NDArray[Any]) -> None:
    """evaluate(*arrays) for arrays of one shape, in parts of their first axis and whole chunks."""
    size = arrays[0].size
    workers = min(_workers.get(), size // CHUNK)
    if workers <= 1:
        evaluate(*arrays)
        return
    length = len(arrays[0])
    chunk = max(1, CHUNK * length // size)
    step = -(-length // (workers * chunk)) * chunk
    with ThreadPoolExecutor(workers) as pool:
        for part in [
            pool.submit(evaluate, *(array[i : i + step] for array in arrays))
            for i in range(0, length, step)
        ]:
            part.result()
