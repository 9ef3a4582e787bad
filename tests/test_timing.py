"""measuring/timing.py, records.py, paper/summary.py: turns, quartiles, who wins, limits."""

import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cupylut.measuring import records, timing
from cupylut.paper import summary


def test_contestants_take_turns() -> None:
    turns: list[str] = []
    times = timing.measure({w: partial(turns.append, w) for w in "AB"}, "cpu", 4, 60)
    assert {who: t.runs for who, t in times.items()} == {"A": 4, "B": 4}
    assert "".join(turns) == "AAABBB" + "AABB" * 4  # of two runs the second one counts


def test_times_are_microseconds_a_call() -> None:
    times = timing.measure(
        {"sleep": partial(time.sleep, 2e-3), "nothing": lambda: None}, "cpu", 5, 60
    )
    slept = times["sleep"]
    assert 2000 <= slept.low <= slept.median <= slept.high < 1e6
    assert slept.mean >= 2000
    assert times["nothing"].median < 1000


def test_runs_end_with_the_time_but_five_are_taken() -> None:
    times = timing.measure({"sleep": partial(time.sleep, 1e-3)}, "cpu", 1000, 0.0)
    assert times["sleep"].runs == timing.LEAST_RUNS == 5


def test_the_device_is_busy_for_twice_as_long_as_a_call_takes_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "_on_cuda", lambda run: 1e-3)
    runtime = SimpleNamespace(deviceSynchronize=lambda: None)
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(timing, "require_cupy", lambda: cupy)
    read = partial(int, 0)
    assert timing._queued(read, lambda: None) == [read]
    assert len(timing._queued(read, partial(time.sleep, 5e-3))) >= 10
    assert timing._queued(None, lambda: None) == []


def test_an_idle_device_is_kept_busy_before_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[float, str]] = []

    def on_cuda(run: partial[str], before: object = ()) -> float:
        runs.append((time.monotonic(), run()))
        return 1e-3

    monkeypatch.setattr(timing, "_on_cuda", on_cuda)
    monkeypatch.setattr(timing, "_queued", lambda before, run: [before])
    start = time.monotonic()
    timing.measure({"cupylut": partial(str, "call")}, "cuda", 5, 0.0, partial(str, "read"))
    first = next(when for when, what in runs if what == "call")
    assert {what for when, what in runs if when < first} == {"read"}
    assert first - start >= timing.BUSY
    assert [what for _, what in runs].count("call") == 5


def test_the_median_and_quartiles() -> None:
    found = timing._summary(np.array([5.0, 1.0, 3.0, 2.0, 100.0]))
    assert found == timing.Time(median=3.0, mean=22.2, low=2.0, high=5.0, runs=5)


def exactly(median: float) -> timing.Time:
    return timing.Time(median, median, median, median, 9)


@pytest.mark.parametrize(
    ("medians", "fastest"),
    [
        ({"copy": 1, "PyTorch": 10, "cupylut": 20}, ["PyTorch"]),
        ({"copy": 1, "PyTorch": 20, "cupylut": 10}, ["cupylut"]),
        ({"copy": 1, "PyTorch": 10.4, "cupylut": 10}, ["cupylut", "PyTorch"]),
        ({"copy": 1, "PyTorch": 10.6, "cupylut": 10}, ["cupylut"]),
    ],
)
def test_who_is_fastest(medians: dict[str, float], fastest: list[str]) -> None:
    assert timing.fastest({who: exactly(median) for who, median in medians.items()}) == fastest


def test_quartiles_that_overlap_decide_nothing() -> None:
    ours = timing.Time(median=10, mean=10, low=9, high=14, runs=5)
    for low, fastest in ((13.0, ["cupylut", "PyTorch"]), (15.0, ["cupylut"])):
        other = timing.Time(median=20, mean=20, low=low, high=25, runs=5)
        assert timing.fastest({"PyTorch": other, "cupylut": ours}) == fastest
    assert timing.ratio(other, ours) == (2, 15 / 14, 25 / 9)


def test_who_won_how_often() -> None:
    def rows(*winners: list[str]) -> list[dict[str, Any]]:
        return [{"fastest": who} for who in winners]

    lost = summary.won(rows(["fused"], ["fused", "compiled"]), ("cupylut",))
    assert lost == "cupylut is fastest in 0 of 2 rows. Of the others: fused in 2, compiled in 1."
    mixed = summary.won(rows(["cupylut"], ["fused", "cupylut"], ["fused"]), ("cupylut",))
    assert mixed.startswith(
        "cupylut is fastest in 1 of 3 rows, and too close to the fastest to tell"
    )
    both = summary.won(rows(["linear table", "cupylut"]), ("cupylut", "linear table"))
    assert both == "cupylut is fastest in 1 of 1 rows."


def test_what_there_is_no_time_for_is_named() -> None:
    left_out: list[str] = []
    assert list(records.Limit(60, left_out).within([1, 2], "row")) == [1, 2]
    assert left_out == []
    assert list(records.Limit(0, left_out).within([1, 2], "row")) == []
    assert left_out == ["row 1: out of time", "row 2: out of time"]


def test_no_model_is_left_out_because_those_before_it_took_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr(records.time, "monotonic", lambda: float(next(times)))
    left_out: list[str] = []
    taken = {
        case: list(limit.within(range(12), case))
        for case, limit in records.Limit(200, left_out).shared(["first", "second"])
    }
    assert taken == {"first": [*range(9)], "second": [*range(4)]}
    assert len(left_out) == 3 + 8
