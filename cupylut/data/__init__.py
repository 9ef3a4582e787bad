"""Real activation inputs, captured from a trained model, to measure lookup tables on.

``README.md`` beside this file says where they come from; :mod:`cupylut.data.capture` is the
script that made them.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

__all__ = ["minilm_gelu_inputs"]

MINILM_FILE = "minilm_gelu_inputs.npy"


def minilm_gelu_inputs() -> NDArray[np.float32]:
    """Return inputs of the six GELU layers of all-MiniLM-L6-v2, as the trained model sees them.

    The array has shape ``(6, 12000)`` and dtype ``float32``. Row ``i`` is a uniform random sample
    of the values that enter the GELU of encoder layer ``i`` while the model reads 200 English
    sentences. Each call reads the file anew, so the caller may change the result freely.

    >>> inputs = minilm_gelu_inputs()
    >>> inputs.shape, inputs.dtype.name
    ((6, 12000), 'float32')
    >>> bool((inputs.mean(axis=1) < 0).all())  # most units are off for most tokens
    True
    """
    with resources.files(__name__).joinpath(MINILM_FILE).open("rb") as file:
        inputs: NDArray[np.float32] = np.load(file, allow_pickle=False)
    return inputs
