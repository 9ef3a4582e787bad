"""PyTorch: the functions as modules, in place of those of `torch.nn`.

The functions themselves are `cupylut.gelu` and so on, which take tensors; `activation`, `product`,
`packed_product` and `fused` are the same for a function by name, and take their arguments in the
order of the operators in `torch.ops.cupylut`.

`cupylut.gelu(tensor)` imports by itself what it needs. A program that loads an exported model
imports this module beforehand, so that its operators are there.
"""

from .fused_activation import fused as fused
from .modules import GEGLU as GEGLU
from .modules import GELU as GELU
from .modules import Activation as Activation
from .modules import Gated as Gated
from .modules import Mish as Mish
from .modules import QuickGELU as QuickGELU
from .modules import SiLU as SiLU
from .modules import SwiGLU as SwiGLU
from .operators import activation as activation
from .operators import product as product
from .packed import packed_product as packed_product
