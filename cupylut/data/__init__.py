"""Real activation inputs, captured from trained models, to measure lookup tables on.

README.md beside this file says where they come from; capture.py and train.py made them.
"""

from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MINILM_FILE = "minilm_gelu_inputs.npy"


def minilm_gelu_inputs() -> NDArray[np.float32]:
    """The inputs of the six GELU layers of all-MiniLM-L6-v2, as the trained model sees them.

    The array has shape (6, 12000) and dtype float32. Row i is a uniform random sample
    of the values that enter the GELU of encoder layer i while the model reads 200 English
    sentences. Each call reads the file anew, so the caller may change the result freely.

    >>> inputs = minilm_gelu_inputs()
    >>> inputs.shape, inputs.dtype.name
    ((6, 12000), 'float32')
    >>> bool((inputs.mean(axis=1) < 0).all())  # most units are off for most tokens
    True
    """
    return _read(MINILM_FILE)


def character_file(activation: str) -> str:
    """The name of the file that `character_inputs` reads."""
    return f"character_{activation}_inputs.npy"


def character_inputs(activation: Literal["gelu_tanh", "silu"]) -> NDArray[np.float32]:
    """What enters the activations of a character-level transformer trained with them.

    The array has shape (2, 3, 12000) and dtype float32: inputs met while reading training
    text and held-out text, by layer, each a uniform random sample. The model with "gelu_tanh" has
    plain MLPs, that with "silu" gated ones; "silu" gives the inputs of the gate.

    >>> training, held_out = character_inputs("silu")
    >>> held_out.shape, held_out.dtype.name
    ((3, 12000), 'float32')
    """
    if activation not in ("gelu_tanh", "silu"):
        raise ValueError(f'activation={activation!r}: choose "gelu_tanh" or "silu"')
    return _read(character_file(activation))


def _read(name: str) -> NDArray[np.float32]:
    with resources.files(__name__).joinpath(name).open("rb") as file:
        inputs: NDArray[np.float32] = np.load(file, allow_pickle=False)
    return inputs
