"""Activation functions by lookup table: optimal domains, CUDA shared memory, any array library."""

import typing as _typing
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from .accuracy import ErrorReport as ErrorReport
from .calibration import Calibration as Calibration
from .declaration import Function as Function
from .declaration import Tail as Tail
from .functions import FUNCTIONS as FUNCTIONS
from .fused import fused as fused
from .gated import geglu as geglu
from .gated import swiglu as swiglu
from .names import declare as declare
from .ops import elu as elu
from .ops import gelu as gelu
from .ops import gelu_10 as gelu_10
from .ops import gelu_tanh as gelu_tanh
from .ops import hardswish as hardswish
from .ops import laplace as laplace
from .ops import leaky_relu as leaky_relu
from .ops import mish as mish
from .ops import quick_gelu as quick_gelu
from .ops import selu as selu
from .ops import sigmoid as sigmoid
from .ops import silu as silu
from .ops import softplus as softplus
from .ops import tanh as tanh
from .search import Domain as Domain
from .search import search as search
from .tables import CompactTable as CompactTable
from .tables import DirectTable as DirectTable
from .tables import FullTable as FullTable
from .tables import GateTable as GateTable
from .tables import LinearTable as LinearTable
from .tables import PolynomialTable as PolynomialTable
from .tables import QuantizedTable as QuantizedTable
from .tables import Table as Table
from .tables import load as load
from .tabulate import quantized as quantized
from .tabulate import tabulate as tabulate
from .workers import set_workers as set_workers

# The modules fused, search and tabulate are hidden behind their functions here; `from
# cupylut.search import …` finds them.
_MODULES = "jax", "torch", "transformers"


if _typing.TYPE_CHECKING:  # a checker that sees __getattr__ takes every name for a module
    from . import jax as jax
    from . import torch as torch
    from . import transformers as transformers

    __version__: str
else:

    def __getattr__(name: str) -> _ModuleType | str:
        """The modules for a library, which import it when they are asked for. The version."""
        if name in _MODULES:
            return _import_module(f".{name}", __name__)
        if name == "__version__":
            metadata = _import_module("importlib.metadata")
            try:
                return str(metadata.version(__name__))
            except metadata.PackageNotFoundError:  # run from a checkout that is not installed
                return "unknown"
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, "__version__"])
