"""workers.py: several threads give the results of one, and do run."""

import threading
from typing import Any

import numpy as np
import pytest
from samples import by_dtype, same, values

import cupylut
from cupylut import workers
from cupylut.tables.chunks import CHUNK


@by_dtype
@pytest.mark.parametrize("size", [2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK - 1, 5 * CHUNK + 77])
def test_results_do_not_depend_on_the_number_of_threads(dtype: np.dtype, size: int) -> None:
    x, z = values(size, dtype), values(size, dtype)
    alone = cupylut.gelu(x), cupylut.swiglu(x, z)
    for number in (2, 3, 7):
        with cupylut.set_workers(number):
            assert same(cupylut.gelu(x), alone[0])
            assert same(cupylut.swiglu(x, z), alone[1])
            y = x.copy()
            cupylut.gelu(y, out=y)
            assert same(y, alone[0])


@pytest.mark.parametrize(
    ("number", "size", "parts"),
    [(1, 9 * CHUNK, 1), (4, CHUNK, 1), (4, 2 * CHUNK - 1, 1), (2, 9 * CHUNK, 2), (4, 3 * CHUNK, 3)],
)
def test_every_element_once_in_as_many_parts(number: int, size: int, parts: int) -> None:
    seen = []
    together = threading.Barrier(parts, timeout=20)  # only passed if the parts run at once

    def evaluate(x: np.ndarray, y: np.ndarray) -> None:
        together.wait()
        seen.append(threading.get_ident())
        y += x

    x, y = np.ones(size, np.float32), np.zeros(size, np.float32)
    with cupylut.set_workers(number):
        workers.run(evaluate, x, y)
    assert len(set(seen)) == parts
    assert (y == 1).all()


@pytest.mark.parametrize("shape", [(3 * CHUNK, 2), (300, CHUNK // 25), (4, 9 * CHUNK)])
def test_rows_are_shared_out(shape: tuple[int, int]) -> None:
    seen = []
    x = np.zeros(shape, np.int8)
    with cupylut.set_workers(2):
        workers.run(lambda x: seen.append(x.shape), x)
    assert sorted(seen) == [(shape[0] // 2, shape[1])] * 2


def test_an_error_in_a_thread_is_raised() -> None:
    def evaluate(x: np.ndarray) -> None:
        raise MemoryError

    with pytest.raises(MemoryError), cupylut.set_workers(2):
        workers.run(evaluate, np.zeros(9 * CHUNK))


def test_the_number_holds_inside_the_with_statement_only() -> None:
    with cupylut.set_workers(3):
        with cupylut.set_workers(2):
            assert workers._workers.get() == 2
        assert workers._workers.get() == 3
    assert workers._workers.get() == 1


@pytest.mark.parametrize("number", [0, -1, 1.5, True, np.inf, np.nan, None, "2"])
def test_a_wrong_number_is_refused(number: Any) -> None:
    with pytest.raises(ValueError, match="workers"), cupylut.set_workers(number):
        pass


@pytest.mark.parametrize("number", [2, 2.0, np.int8(2)])
def test_a_whole_number_of_any_type_is_taken(number: Any) -> None:
    with cupylut.set_workers(number):
        assert workers._workers.get() == 2
