"""tuning.py: what each generation of GPUs is launched with."""

import pytest
from cubin import ARCHITECTURES

from cupylut.benchmarks.counts import LOOP_BYTES
from cupylut.tuning import TUNINGS, tuning


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_generation_has_launch_parameters(architecture: int) -> None:
    found = tuning(architecture)
    assert found is TUNINGS[75 if architecture < 100 else 100]
    assert sorted(found.threads) == list(found.threads)
    assert not [threads for threads in found.threads if threads % 32 or threads > 1024]
    assert found.bytes_in_flight == LOOP_BYTES
    # 32-byte instructions came with 10.0.
    assert found.vector_bytes == (16 if architecture < 100 else 32)


def test_older_and_newer_gpus() -> None:
    assert tuning(70) is TUNINGS[75]
    assert tuning(200) is TUNINGS[100]


def test_macros() -> None:
    short, long = (tuning(90).defines(long_index) for long_index in (False, True))
    assert short == {"VECTOR_BYTES": "16", "IN_FLIGHT": "32", "INDEX": "unsigned"}
    assert long == short | {"INDEX": "long long"}
