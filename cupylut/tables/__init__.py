"""The kinds of table, one file each; `load` reads back what `Table.save` wrote."""

import os

from .compact import CompactTable as CompactTable
from .direct import DirectTable as DirectTable
from .full import FullTable as FullTable
from .gate import GateTable as GateTable
from .linear import LinearTable as LinearTable
from .polynomial import PolynomialTable as PolynomialTable
from .quantized import QuantizedTable as QuantizedTable
from .table import Table as Table
from .table import read
from .unrounded import UnroundedTable as UnroundedTable

SETTLED: dict[str, type[DirectTable | CompactTable | GateTable | PolynomialTable]] = {
    cls.kind: cls for cls in (DirectTable, FullTable, CompactTable, GateTable, PolynomialTable)
}
"""The kinds that a function and a dtype settle, with nothing left to choose."""

KINDS: dict[str, type[Table]] = {**SETTLED, LinearTable.kind: LinearTable}
"""The kinds that `cupylut.tabulate` makes."""


def load(path: str | os.PathLike[str]) -> Table:
    """Read a table that `table.save(path)` wrote.

    Raises ValueError where the file is damaged, was not written by this library, or holds what is
    no table, and OSError where it cannot be read.

    >>> import cupylut, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "gelu.npz")
    >>> cupylut.tabulate("gelu", size=256).save(path)
    >>> cupylut.load(path)
    LinearTable(gelu, float32, 256 nodes on [-4.057, 4.057])
    """
    fields, values = read(path)
    try:
        kinds = KINDS | {cls.kind: cls for cls in (QuantizedTable, UnroundedTable)}
        return kinds[fields["kind"]]._restore(fields, values)
    except (LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"{os.fspath(path)!r} holds no table of a known kind: {error}") from error
