"""NumPy's memory, as it is and behind nothing but the DLPack protocol."""

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cupylut

from . import BFLOAT16, WANT, X, bits


class Producer:
    """A library's array, of the newest protocol."""

    def __init__(self, array: Any, device: tuple[int, int] = (1, 0)) -> None:
        self.array, self.device = array, device
        self.asked: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **options: Any) -> Any:
        self.asked.append(options)
        return self.array.__dlpack__(**options)


class Standard(Producer):
    """With the namespace of the array API standard."""

    def __array_namespace__(self) -> Any:
        return SimpleNamespace(
            from_dlpack=lambda x: Standard(np.from_dlpack(x)), float16=np.float16
        )


class Unversioned(Producer):
    """Of the protocol that had a stream and no more; its capsules have no version and no flags."""

    def __dlpack__(self, *, stream: Any = None) -> Any:  # type: ignore[override]
        return self.array.__dlpack__()


class Positional(Producer):
    def __dlpack__(self, stream: Any = None) -> Any:  # type: ignore[override]
        return self.array.__dlpack__()


class WithoutKeywords(Producer):
    def __dlpack__(self) -> Any:  # type: ignore[override]
        return self.array.__dlpack__()


class Copying(Producer):
    """Exports a copy each time, whatever it is asked for."""

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.copy().__dlpack__()


KINDS = (Producer, Standard, Unversioned, Positional, WithoutKeywords, Copying)


def result_of(x: Any) -> Any:
    y = cupylut.gelu(x)
    return y.array if isinstance(x, Standard) else y


def trap_negative_strides() -> None:
    for x in (X[::-1], X[::-2], X.reshape(3, 4)[::-1, ::-1], X.reshape(3, 4).T[:, ::-1]):
        want = cupylut.gelu(x.copy())
        for kind in KINDS:
            assert bits(result_of(kind(x))) == bits(want)
        y = cupylut.gelu(x)
        assert bits(y) == bits(want)
        assert min(y.strides) > 0  # for libraries that do not survive others
        out = np.zeros((*x.shape, 2), x.dtype)[::-1, ..., 0]
        assert bits(cupylut.gelu(x, out=out)) == bits(want)


def trap_stride_0_size_0_and_0_d() -> None:
    strides = np.lib.stride_tricks.as_strided
    for x in (
        strides(X, (3, 12), (0, 4)),
        strides(X, (5,), (0,)),
        X[:0],
        X[:0, None],
        X.reshape(12, 1, 1)[5, 0],
    ):
        for kind in KINDS:
            assert bits(result_of(kind(x))) == bits(cupylut.gelu(x.copy()))
    with pytest.raises(ValueError, match="same memory more than once"):
        cupylut.gelu(Producer(X), out=Producer(strides(np.zeros(1, np.float32), (12,), (0,))))


def trap_misaligned_addresses() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        x = np.zeros(12 * np.dtype(dtype).itemsize + 1, np.uint8)[1:].view(dtype)
        x[:] = X
        assert not x.flags.aligned
        want = cupylut.gelu(X.astype(dtype))
        for kind in KINDS:
            assert bits(result_of(kind(x))) == bits(want)
        assert bits(cupylut.gelu(x, out=x)) == bits(want)


def trap_read_only_memory() -> None:
    x = X.copy()
    x.flags.writeable = False
    assert bits(cupylut.gelu(Producer(x))) == bits(WANT)
    out: Any
    for source, out in (
        (x, x),
        (Producer(X), Producer(x)),
        (Unversioned(X), Unversioned(X.copy())),  # cannot say whether it is
    ):
        with pytest.raises(ValueError, match="out is read-only"):
            cupylut.gelu(source, out=out)
    assert bits(x) == bits(X)


def trap_out_that_would_not_change() -> None:
    with pytest.raises(ValueError, match="exports copies of its memory, so it would not change"):
        cupylut.gelu(Copying(X), out=Copying(np.zeros_like(X)))


def trap_what_a_producer_on_the_cpu_is_asked_for() -> None:
    x = Producer(X)
    cupylut.gelu(x)
    (options,) = x.asked
    assert options.get("stream") is None
    assert options.get("copy") is None
    assert options.get("dl_device") is None
    assert options["max_version"] >= (1, 0)


class Elsewhere(Producer):
    """On any device, and not to be asked for its memory unless that is the CPU."""

    def __dlpack__(self, **options: Any) -> Any:
        assert self.device == (1, 0)
        return super().__dlpack__(**options)


def trap_foreign_devices() -> None:
    here = Elsewhere(X)
    for device in (0, 4, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 99, -1):  # 10 and 11 are ROCm's
        there = Elsewhere(X, (device, 0))
        for x, out in ((there, None), (there, here), (here, there)):
            with pytest.raises(TypeError, match=f"on DLPack device type {device}: use the CPU or"):
                cupylut.gelu(x, out=out)


class Lying(Producer):
    """`array` is no array but what it gives for a capsule."""

    def __dlpack__(self, **options: Any) -> Any:
        return self.array


def trap_capsules_that_are_none() -> None:
    used = X.__dlpack__(max_version=(1, 0))
    np.from_dlpack(Lying(used))
    for capsule in (None, 7, "dltensor", X, used):
        with pytest.raises(TypeError, match=r"Lying cannot be exchanged by DLPack"):
            cupylut.gelu(Lying(capsule))


class Handover(Producer):
    """Keeps nothing after the export: the capsule alone holds the memory."""

    def __dlpack__(self, **options: Any) -> Any:
        array, self.array = self.array, None
        return array.__dlpack__(**options)


def trap_producers_freed_early() -> None:
    for kind in (*KINDS, Handover):
        source = X.copy()
        freed = weakref.ref(source)
        x = kind(source)
        del source
        y = result_of(x)
        del x
        gc.collect()
        assert freed() is None  # the capsule was used up and its deleter called
        reused = [np.full_like(X, 7) for _ in range(100)]
        assert bits(y) == bits(WANT)
        del reused


def trap_bfloat16() -> None:
    x = X.astype(BFLOAT16)
    assert bits(cupylut.gelu(x)) == bits(cupylut.gelu(x[::-1])[::-1])
    with pytest.raises(TypeError, match="pass bfloat16 as an array of NumPy, PyTorch or JAX"):
        cupylut.gelu(Producer(x))  # NumPy's half of the protocol has none
