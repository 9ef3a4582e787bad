"""Makes the coefficients in cupylut/data/ again: python -m cupylut.fitting, which needs mpmath.

With names, as gate/gelu_float32.txt, these only.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import data
from ..dtypes import FLOAT32, FLOAT64, DType, as_dtype
from ..functions import CURVED, FUNCTIONS
from ..names import with_derivatives
from ..tables import CompactTable, GateTable, PolynomialTable
from ..tables.shipped import file_name
from . import compact, digits, gate, hard_cases, polynomial

# Those with a gate table have no need of another, and √softplus has no table of float32.
_NOT_IN_FLOAT32 = {*gate.LAYOUTS, *with_derivatives({"": CURVED["sqrtsoftplus"]})}


def _polynomial(name: str, dtype: DType) -> str:
    return polynomial.text(polynomial.fit(with_derivatives()[name], dtype, None))


def _in_digits(name: str) -> str:
    return polynomial.text(digits.fit(name))


def makers() -> dict[str, Callable[[], str]]:
    """What makes the content of each file."""
    makers: dict[str, Callable[[], str]] = {"hard_cases.json": hard_cases.text}
    for name, dtype_name in compact.DESIGNS:
        dtype = as_dtype(dtype_name)
        makers[file_name(CompactTable.kind, name, dtype)] = partial(compact.text, name, dtype)
    for name in gate.LAYOUTS:
        makers[file_name(GateTable.kind, name, FLOAT32)] = partial(gate.text, name)
    for name in sorted(with_derivatives().keys() - _NOT_IN_FLOAT32):
        make = partial(_polynomial, name, FLOAT32)
        makers[file_name(PolynomialTable.kind, name, FLOAT32)] = make
    for name in with_derivatives(FUNCTIONS):  # those beside them have no tables of float64
        make = partial(_polynomial, name, FLOAT64)
        makers[file_name(PolynomialTable.kind, name, FLOAT64)] = make
    for name in digits.NAMES:
        makers[file_name(PolynomialTable.kind, name, FLOAT64)] = partial(_in_digits, name)
    return makers


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m cupylut.fitting", description=__doc__)
    made = makers()
    parser.add_argument("files", nargs="*", default=list(made), help="default: all")
    folder = Path(data.__file__).parent
    parser.add_argument("--output", type=Path, default=folder, help="default: the package's data")
    arguments = parser.parse_args()
    if unknown := set(arguments.files) - made.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    for name in arguments.files:
        print(name)
        path = arguments.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[name](), encoding="utf-8")


if __name__ == "__main__":
    main()
