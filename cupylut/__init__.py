"""Activation functions by lookup table: optimal domains, CUDA shared memory, any array library."""

from .accuracy import ErrorReport as ErrorReport
from .declaration import Function as Function
from .functions import FUNCTIONS as FUNCTIONS
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
from .tables import DirectTable as DirectTable
from .tables import GateTable as GateTable
from .tables import LinearTable as LinearTable
from .tables import Table as Table
from .tables import load as load
from .tabulate import tabulate as tabulate
