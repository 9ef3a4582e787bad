"""What a type checker says of programs that use the library: checked by mypy, never run.

Where an error is ignored there has to be one, or mypy complains of the comment.
"""

from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import cupylut


def program(x: NDArray[np.float32]) -> None:
    cupylut.silu(x, out=x)
    cupylut.silu(x, oot=x)  # type: ignore[call-arg]
    cupylut.silu()  # type: ignore[call-arg]
    cupylut.gelu(x, approximate="tan")  # type: ignore[arg-type]
    cupylut.gleu(x)  # type: ignore[attr-defined]

    assert_type(cupylut.silu.__name__, str)
    assert_type(cupylut.__version__, str)
    assert_type(cupylut.torch.GELU(), cupylut.torch.GELU)
    cupylut.torch.gelu(x)  # type: ignore[attr-defined]

    table = cupylut.tabulate(lambda v: v / (1 + abs(v)), left=-1, right="identity")
    assert_type(table, cupylut.Table)
    assert_type(table.report.max_abs, float)
    assert_type(cupylut.search("gelu").lo, float)
    assert_type(sum([cupylut.Calibration(x)], cupylut.Calibration()), cupylut.Calibration)

    f = cupylut.Function("f", "max(x, −1)", lambda v: np.maximum(v, -1), -1.0, right="identity")
    assert_type(f.left, cupylut.Tail | None)
    cupylut.Function("f", "x²", np.square, left=None, right=cupylut.Tail(1.0, 0.0))
    cupylut.Function("f", "x²", np.square, left=[0.0], right=1)  # type: ignore[arg-type]
