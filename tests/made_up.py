"""Records as a GPU would give them, with figures that are made up."""

from typing import Any

from cupylut.benchmarks.cells import FORMAT, Cell
from cupylut.measuring.timing import FLOOR, Time
from cupylut.tables import KINDS

H100 = "NVIDIA H100 80GB HBM3"

HOST = {"library": "PyTorch", "who": "cupylut", "dtype": "float32"}


def made_cell(function: str, dtype: str, elements: int, **times: float) -> Cell:
    """The first of our kinds is the default; names may have _ for what Python has no letter for."""
    names = {"PyTorch_": "PyTorch", "torch_compile": "torch.compile", "chain": "NewGELU chain"}
    taken = {names.get(who, who): Time(t, t, 0.9 * t, 1.1 * t, 5) for who, t in times.items()}
    default = next(who for who in taken if who in KINDS)
    assert FLOOR in taken
    return Cell(function, dtype, elements, default, taken)


def made_record(cells: list[Cell], name: str = H100) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "environment": {
            "device": "cuda",
            "name": name,
            "date": "2026-01-02T03:04:05+00:00",
            "commit": "f" * 40,
            "versions": {"python": "3.12", "cupy": "14"},
        },
        "left_out": ["gelu, float32, 1,024, torch.compile: no compiler"],
        "host": [
            {**HOST, "call": 12.5, "chain": 13.5, "graph": 1.25},
            {**HOST, "who": "PyTorch", "call": 4.5, "chain": 5.5, "graph": None},
        ],
        "cells": [cell.as_record() for cell in cells],
        "targets": [],
    }
