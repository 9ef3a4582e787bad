"""Table: what every kind of table has in common."""

import hashlib
import io
import json
import os
from abc import ABC, abstractmethod
from dataclasses import asdict, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..accuracy import ErrorReport, error_report
from ..declaration import Function
from ..dtypes import DType

FORMAT = "cupylut table 4"


class Table(ABC):
    """A function made into a table for one dtype; immutable, callable, picklable, savable.

    `table(x)` evaluates it on an array of any library with the rules of `cupylut.gelu`; x must
    have the table's dtype, and the result has its `result_dtype`: but for a `QuantizedTable` or
    `UnroundedTable` the same. `table.report` says how far it is from the function.
    """

    kind: ClassVar[str]
    entry_point: ClassVar[str | None] = "elementwise"
    """The kernel of `device.KERNELS` that evaluates the table over an array, if there is one."""

    name: str
    dtype: DType
    report: ErrorReport

    @property
    def result_dtype(self) -> DType:
        """The dtype of the results."""
        return self.dtype

    def __call__(self, x: Any, *, out: Any = None) -> Any:
        """The table's value at every element of x; see `cupylut.gelu` for the rules."""
        from ..ops import apply  # the array side stands above the design side

        return apply(self, x, out)

    def __reduce__(self) -> Any:
        """Without what is made from the fields when it is first used."""
        names = (field.name for field in fields(self))  # type: ignore[arg-type]  # a dataclass
        return type(self), tuple(getattr(self, name) for name in names)

    @abstractmethod
    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the values at x into out: the NumPy half, on 1-D arrays of the table's dtypes.

        The two may be the same memory where these are the same. The kernel of the same name
        computes the same bits, but for what the kind's own docstring says.
        """

    @property
    @abstractmethod
    def struct(self) -> str:
        """The C++ type of the lookup, in the kernel file named like the kind."""

    @property
    @abstractmethod
    def entries(self) -> NDArray[Any]:
        """What the kernel keeps in shared memory, one row an entry; read-only."""

    @property
    @abstractmethod
    def parameters(self) -> NDArray[Any]:
        """The struct, an array of one element, that the kernel takes by value."""

    @abstractmethod
    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Which of the entries the kernel reads first for each x, a flat array."""

    def reported(self, function: Function, x: NDArray[Any], even: int) -> Self:
        """The table with the report on inputs x, of which the first `even` fill its domain."""
        y = np.empty(x.shape, self.result_dtype)
        self.evaluate(x, y)
        return self.annotated(report=error_report(function, x, y, even))

    def annotated(self, **notes: Any) -> Self:
        """The table with other notes in its fields, such as its report; for when it is made.

        What it made of the others when it was first used is not made again.
        """
        table = replace(self, **notes)  # type: ignore[type-var]  # a dataclass
        for name, made in vars(self).items():
            vars(table).setdefault(name, made)
        return table

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], NDArray[Any]]:
        """What `_restore` needs: JSON-able fields, and the values."""

    @classmethod
    @abstractmethod
    def _restore(cls, fields: dict[str, Any], values: NDArray[Any]) -> Self:
        """The inverse of `_state`; raises ValueError where the fields do not fit together."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a file that `cupylut.load` reads back bit for bit."""
        fields, values = self._state()
        fields |= {"format": FORMAT, "kind": self.kind, "report": asdict(self.report)}
        write(path, fields, values)


Array = TypeVar("Array", bound=NDArray[Any])


def read_only(array: Array) -> Array:
    """The array itself, which can no longer be written to."""
    array.flags.writeable = False
    return array


def check_values(values: NDArray[Any], dtype: DTypeLike, *shape: int | None) -> None:
    """Raise ValueError unless the values of a file have this dtype and shape; None is any size."""
    fits = len(shape) == values.ndim and all(
        size in (None, found) for size, found in zip(shape, values.shape, strict=True)
    )
    if values.dtype != dtype or not fits:
        sizes = ", ".join("any" if size is None else f"{size:,}" for size in shape)
        raise ValueError(
            f"({sizes}) numbers of {np.dtype(dtype).name} expected, not {values.shape} of "
            f"{values.dtype.name}"
        )


def _digest(header: str, values: NDArray[Any]) -> str:
    little_endian = values.astype(values.dtype.newbyteorder("<"))
    return hashlib.sha256(header.encode() + little_endian.tobytes()).hexdigest()


def write(path: str | os.PathLike[str], fields: dict[str, Any], values: NDArray[Any]) -> None:
    """Write fields and values to a file with a digest, the name of its format among the fields."""
    header = json.dumps(fields, sort_keys=True)
    buffer = io.BytesIO()
    np.savez(buffer, header=header, values=values, sha256=_digest(header, values))
    with open(path, "wb") as file:
        file.write(buffer.getvalue())


def read(
    path: str | os.PathLike[str], form: str = FORMAT, what: str = "table"
) -> tuple[dict[str, Any], NDArray[Any]]:
    """The fields and values of a file of this format, checked against its digest."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        if not content.startswith(b"PK"):  # of which numpy.load asks whether to unpickle it
            raise ValueError("it is no .npz archive")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            header, values = str(archive["header"]), archive["values"]
            digest = str(archive["sha256"])
        fields = json.loads(header)
        if fields["format"] != form:
            raise ValueError(f"its format is {fields['format']!r}, this version reads {form!r}")
        if digest != _digest(header, values):
            raise ValueError("its content does not match its checksum")
    except Exception as error:
        raise ValueError(
            f"{os.fspath(path)!r} is not an intact {what} file ({error}); "
            f"write one with {what}.save"
        ) from error
    return fields, values
