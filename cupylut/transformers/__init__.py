"""Hugging Face models: every activation and gated MLP of a model through tables, in one line.

    with cupylut.transformers.patched(model):
        model(**inputs)

Works on any `torch.nn.Module`. What a module computes is known by its type and settings, never by
the name of the attribute that holds it, and it is replaced by that very function: gelu and its tanh
form, which differ by up to 4.7e-4, stay apart. What is not recognised beyond doubt stays as it is;
`print(patch(model))` lists both.

Parameters, the keys of the state dict and the classes that `isinstance` sees of a gated MLP are
untouched, so training, saving, copying, pickling and torch.compile go on as before.
"""

from .calibrating import calibrate as calibrate
from .calibrating import linear_tables as linear_tables
from .kernels import kernel_mapping as kernel_mapping
from .patching import Found as Found
from .patching import Patch as Patch
from .patching import patch as patch
from .patching import patched as patched
from .patching import restore as restore
from .substitutes import Lookup as Lookup
