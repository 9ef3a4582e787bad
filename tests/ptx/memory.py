"""A GPU's memory, global and shared: whatever a real one forbids or leaves open is an error here.

Every access must be aligned to its size and lie in what was allocated, what is read must have been
written, and no thread may touch what another one wrote, or write what another one read, unless a
barrier lies between the two: that of a block in shared memory, the end of the kernel in global.
"""

import weakref
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

FREE, ALLOCATED, WRITTEN = range(3)
NOBODY, SEVERAL = 0, -1  # beside the numbers of threads, from 1 on
GUARD = 256  # bytes between two allocations; a GPU's start at multiples of it too


class AccessError(AssertionError):
    """What compute-sanitizer would report."""


class Space:
    """Bytes that threads share, from `base` on."""

    def __init__(self, name: str, memory: np.ndarray, base: int) -> None:
        self.name, self.memory, self.base = name, memory, base
        self.state = np.zeros(memory.size, np.uint8)
        self.forget_threads()

    def forget_threads(self) -> None:
        """What a barrier does, or the end of a kernel."""
        self.writer, self.reader = (np.zeros(self.memory.size, np.int32) for _ in range(2))

    def load(self, addresses: Any, size: int, count: int, threads: Any) -> Any:
        """The unsigned numbers of so many bytes, `count` at each address: (count, threads)."""
        places, words = self._places(addresses, size, count, "read")
        if (self.state[places] != WRITTEN).any():
            raise AccessError(f"{self.name} memory is read that nobody wrote")
        self._refuse(self.writer[places], threads, "reads what another one wrote")
        before = self.reader[places]
        noted = np.where((before == NOBODY) | (before == threads), threads, SEVERAL)
        self.reader[places] = noted
        lost = self.reader[places] != noted  # where several read at once, the last one was noted
        self.reader[places[lost]] = SEVERAL
        return self.memory.view(f"u{size}")[words]

    def store(self, addresses: Any, size: int, values: Any, threads: Any) -> None:
        """Unsigned numbers of so many bytes to the addresses: values is (count, threads)."""
        places, words = self._places(addresses, size, len(values), "written")
        self._refuse(self.writer[places], threads, "writes what another one wrote")
        self._refuse(self.reader[places], threads, "writes what another one read")
        self.writer[places] = threads
        self._refuse(self.writer[places], threads, "writes what another one writes")
        self.state[places] = WRITTEN
        self.memory.view(f"u{size}")[words] = values

    def _places(self, addresses: Any, size: int, count: int, done: str) -> tuple[Any, Any]:
        """The indices of all bytes, (bytes, threads), and of the numbers, (count, threads)."""
        start = np.asarray(addresses).astype(np.int64) - self.base
        if (start % (size * count)).any():
            raise AccessError(f"misaligned: {size * count} bytes of {self.name} memory are {done}")
        places = start + np.arange(size * count)[:, None]
        inside = (places >= 0) & (places < self.memory.size)
        if not inside.all() or (self.state[places] == FREE).any():
            raise AccessError(f"{self.name} memory is {done} that is nobody's")
        return places, start // size + np.arange(count)[:, None]

    def _refuse(self, others: Any, threads: Any, what: str) -> None:
        if ((others != NOBODY) & (others != threads)).any():
            raise AccessError(f"race: a thread {what} in {self.name} memory")


class GlobalMemory(Space):
    """The memory of a device. Its addresses are the host's, so that arrays are views of it."""

    def __init__(self, size: int = 1 << 30) -> None:  # of which the host gives what is used
        buffer = np.zeros(size + GUARD, np.uint8)
        memory = buffer[-buffer.ctypes.data % GUARD :][:size]
        super().__init__("global", memory, memory.ctypes.data)
        self.end = 0
        self.freed: dict[int, list[int]] = defaultdict(list)  # places by size, to be used again

    def empty(self, size: int, offset: int = 0) -> np.ndarray:
        """So many bytes that nobody has written, `offset` behind a boundary of 256."""
        whole = -(-(offset + size) // GUARD) * GUARD
        if self.freed[whole]:
            start = self.freed[whole].pop()
        else:
            start, self.end = self.end, self.end + whole + GUARD
            if self.end > self.memory.size:
                raise MemoryError(f"the device of the tests has {self.memory.size} bytes")
        allocation = Allocation(self.base + start + offset, size)
        weakref.finalize(allocation, self._free, start, whole)
        self.state[start + offset : start + offset + size] = ALLOCATED
        return np.asarray(allocation)

    def _free(self, start: int, size: int) -> None:
        self.state[start : start + size] = FREE
        self.freed[size].append(start)

    def put(self, array: np.ndarray, offset: int = 0) -> np.ndarray:
        """A copy of a host's array, in C order."""
        copy = self.empty(array.nbytes, offset)
        copy[...] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.marks(copy)[...] = WRITTEN
        return copy.view(array.dtype).reshape(array.shape)

    def marks(self, array: np.ndarray) -> np.ndarray:
        """The state of an array's bytes, in one more dimension than it has."""
        start = array.ctypes.data - self.base
        shape, strides = (*array.shape, array.itemsize), (*array.strides, 1)
        return as_strided(self.state[start:], shape, strides)

    def has(self, array: np.ndarray) -> bool:
        """Whether the array lies here."""
        return 0 <= array.ctypes.data - self.base < self.memory.size


class Allocation:
    """Memory that is given back when no array is left that views it."""

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {
            "version": 3, "shape": (size,), "typestr": "|u1", "data": (address, False)
        }  # fmt: skip
