"""How many passes through shared memory a warp's reads take, and how much there is of it.

Shared memory is 32 banks of 4 bytes. In one pass each bank delivers one word, to every lane that
asks for it, so a read takes as many passes as the busiest bank has different words to deliver. A
warp of 32 lanes is served 128 bytes at once: in halves for reads of 8 bytes a lane, in quarters for
those of 16. (Banks and broadcast: CUDA C++ Programming Guide, "Shared Memory". The halves and
quarters are how wide reads are known to behave, not documented for today's GPUs; where halves that
ask for the same words are served together, there are fewer passes.)
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

WARP, BANKS, WORD_BYTES = 32, 32, 4
BLOCK_BYTES = 48 * 1024  # which every device gives a block

Integers: TypeAlias = NDArray[np.int64]


def passes(addresses: Integers, width: int) -> Integers:
    """The passes that each warp's read takes, for addresses in bytes, shape (warps, 32).

    width: the bytes that a lane reads, at a multiple of it.

    >>> lanes = np.arange(32)[None]
    >>> passes(4 * lanes, 4), passes(8 * lanes, 4), passes(0 * lanes, 4), passes(128 * lanes, 4)
    (array([1]), array([2]), array([1]), array([32]))
    """
    groups = max(1, width // WORD_BYTES)
    words = addresses[..., None] // WORD_BYTES + np.arange(groups)
    asked = np.sort(words.reshape(len(addresses) * groups, -1), axis=1)
    different = np.ones(asked.shape, bool)
    different[:, 1:] = asked[:, 1:] != asked[:, :-1]
    group = np.arange(len(asked))[:, None]
    load = np.bincount((group * BANKS + asked % BANKS)[different], minlength=len(asked) * BANKS)
    busiest = load.reshape(len(addresses), groups, BANKS).max(axis=2)
    return np.asarray(busiest.sum(axis=1))
