"""Calibrations kept in files, pickled and copied, and files that hold none."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from test_calibration import random_bits

import cupylut
from cupylut import Calibration, calibration, tabulate


def every_kind() -> Calibration:
    return Calibration(random_bits(np.dtype(np.float32), 3000))


@pytest.mark.parametrize("make", [Calibration, every_kind, lambda: Calibration([np.nan])])
def test_save_load_pickle_and_copy(make: Callable[[], Calibration], tmp_path) -> None:
    c = make()
    path = tmp_path / "any name"
    c.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["any name"]
    for twin in (Calibration.load(path), pickle.loads(pickle.dumps(c)), copy.copy(c)):
        assert twin == c
        assert repr(twin) == repr(c)
        twin.update([0.5])
        assert twin != c


def test_files_that_are_no_calibrations(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, c = tmp_path / "c.npz", every_kind()
    c.save(path)
    content = path.read_bytes()
    middle = len(content) // 2
    for damaged in (content[:-30], content[:middle] + b"!!" + content[middle + 2 :], b"", b"PK"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not an intact calibration file"):
            Calibration.load(path)
    tabulate("gelu", size=16).save(path)
    with pytest.raises(ValueError, match="'cupylut table 4', this version reads 'cupylut cal"):
        Calibration.load(path)
    c.save(path)
    with pytest.raises(ValueError, match="not an intact table file"):
        cupylut.load(path)
    pickled = pickle.dumps(c)
    monkeypatch.setattr(calibration, "FORMAT", "cupylut calibration 2")
    with pytest.raises(ValueError, match="'cupylut calibration 1'"):
        Calibration.load(path)
    with pytest.raises(ValueError, match="'cupylut calibration 1'"):
        pickle.loads(pickled)
    with pytest.raises(FileNotFoundError):
        Calibration.load(tmp_path / "none")
