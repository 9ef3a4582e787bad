"""How the kernels are launched on each generation of GPUs: the numbers, apart from the algorithms.

None is measured yet. They follow from what the hardware has and from the compiled code; the
benchmark (`python -m cupylut bench bandwidth`) is what judges them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """Launch parameters of `kernels/stream.cuh`.

    threads: of a block; multiples of the warp. The first is taken of which as many threads fit on
    a multiprocessor as of any. Small blocks spread a small array over more processors; with a table
    that leaves room for few blocks, larger ones keep enough threads there, and share its filling.

    vector_bytes: what one instruction loads or stores.

    bytes_in_flight: how many a thread loads before it needs any: as many vectors of all inputs, or
    one of each if that is more; those of an array are a warp's width apart. On their way in all
    must be bandwidth · latency: 3.35 TB/s · 0.7 µs are 18 KB for each of an H100's 132 processors,
    8 TB/s · 0.7 µs on a B200 39 KB. 32 bytes of 1,536 threads, which is what 40 registers allow,
    are 48 KB.
    """

    threads: tuple[int, ...]
    vector_bytes: int
    bytes_in_flight: int

    def elements(self, itemsize: int, inputs: int) -> int:
        """How many elements a thread takes at a time of that many input arrays.

        itemsize: that of the widest items, of the result too.
        """
        vectors = max(1, self.bytes_in_flight // (self.vector_bytes * inputs))
        return vectors * (self.vector_bytes // itemsize)

    def defines(self, long_index: bool = False) -> dict[str, str]:
        """What the kernels are compiled with; `long_index` for arrays of 2³¹ elements and more."""
        return {
            "VECTOR_BYTES": str(self.vector_bytes),
            "IN_FLIGHT": str(self.bytes_in_flight),
            # An address takes one instruction from a 32-bit index, two from a 64-bit one.
            "INDEX": "long long" if long_index else "unsigned",
        }


_THREADS = 256, 512, 1024

# From the compute capability on, times 10; 32-byte instructions came with 10.0. Two vectors of 16
# bytes share the instructions that the loop itself takes; four share them no better, and take more
# registers.
TUNINGS = {
    75: Tuning(threads=_THREADS, vector_bytes=16, bytes_in_flight=32),
    100: Tuning(threads=_THREADS, vector_bytes=32, bytes_in_flight=32),
}

LONG_INDEX = 1 << 31
"""The number of elements from which on indices have 64 bits: below, sums of them do not wrap."""


def tuning(capability: int) -> Tuning:
    """The launch parameters for a compute capability, such as 90 for 9.0."""
    return TUNINGS[max((known for known in TUNINGS if known <= capability), default=min(TUNINGS))]
