// Two 16-bit numbers in a word, handled by one instruction where the GPU has it: overloads for the
// types that it has it for come behind what does the same for one number after the other.
#pragma once

#include "floating.cuh"

template <typename Scalar>
struct Pair {
    unsigned bits;  // the first number in the low half

    __device__ __forceinline__ Scalar first() const { return {static_cast<unsigned short>(bits)}; }
    __device__ __forceinline__ Scalar second() const {
        return {static_cast<unsigned short>(bits >> 16)};
    }
};

template <typename Scalar>
__device__ __forceinline__ Pair<Scalar> pair(Scalar first, Scalar second) {
    return {static_cast<unsigned>(second.bits) << 16 | first.bits};
}

// What a lookup derives from that takes two inputs at once.
struct TakesPairs {};

// The bits of a where the mask has ones, those of b elsewhere.
__device__ __forceinline__ unsigned select(unsigned mask, unsigned a, unsigned b) {
    return (a & mask) | (b & ~mask);
}

// Both rounded to nearest.
template <typename Scalar>
__device__ __forceinline__ void narrow(float first, float second, Pair<Scalar>& r) {
    Scalar low, high;
    narrow(first, low);
    narrow(second, high);
    r = pair(low, high);
}

template <typename Scalar>
__device__ __forceinline__ Scalar clamped(Scalar x, Scalar low, Scalar high) {
    Scalar r;
    narrow(minimum(maximum(widen(x), widen(low)), widen(high)), r);
    return r;
}

// min(max(x, low), high), and low where x is NaN.
template <typename Scalar>
__device__ __forceinline__ Pair<Scalar> clamped(
    Pair<Scalar> x, Pair<Scalar> low, Pair<Scalar> high) {
    return pair(clamped(x.first(), low.first(), high.first()),
                clamped(x.second(), low.second(), high.second()));
}

// All bits of a half where x > bound or x is NaN.
template <typename Scalar>
__device__ __forceinline__ unsigned exceeds(Pair<Scalar> x, Pair<Scalar> bound) {
    return select(0xffffu, exceeds(widen(x.first()), widen(bound.first())),
                  exceeds(widen(x.second()), widen(bound.second())));
}

#ifndef __CUDACC__

inline unsigned magnitude_exceeds(Pair<Float16> x, Pair<Float16> bound) {
    return exceeds(Pair<Float16>{x.bits & 0x7fff7fffu}, bound);
}

#else

__device__ __forceinline__ unsigned exceeds(Pair<Float16> x, Pair<Float16> bound) {
    unsigned r;
    asm("set.gtu.u32.f16x2 %0, %1, %2;" : "=r"(r) : "r"(x.bits), "r"(bound.bits));
    return r;
}

// The same for |x|.
__device__ __forceinline__ unsigned magnitude_exceeds(Pair<Float16> x, Pair<Float16> bound) {
    unsigned r;
    asm("{ .reg .b32 a; abs.f16x2 a, %1; set.gtu.u32.f16x2 %0, a, %2; }"
        : "=r"(r) : "r"(x.bits), "r"(bound.bits));
    return r;
}

__device__ __forceinline__ void narrow(float first, float second, Pair<Float16>& r) {
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r.bits) : "f"(second), "f"(first));
#else  // no such instruction
    narrow<Float16>(first, second, r);
#endif
}

#if __CUDA_ARCH__ >= 800

__device__ __forceinline__ void narrow(float first, float second, Pair<BFloat16>& r) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r.bits) : "f"(second), "f"(first));
}

__device__ __forceinline__ Pair<Float16> clamped(
    Pair<Float16> x, Pair<Float16> low, Pair<Float16> high) {
    Pair<Float16> r;
    asm("{ .reg .b32 t; max.f16x2 t, %1, %2; min.f16x2 %0, t, %3; }"
        : "=r"(r.bits) : "r"(x.bits), "r"(low.bits), "r"(high.bits));
    return r;
}

__device__ __forceinline__ Pair<BFloat16> clamped(
    Pair<BFloat16> x, Pair<BFloat16> low, Pair<BFloat16> high) {
    Pair<BFloat16> r;
    asm("{ .reg .b32 t; max.bf16x2 t, %1, %2; min.bf16x2 %0, t, %3; }"
        : "=r"(r.bits) : "r"(x.bits), "r"(low.bits), "r"(high.bits));
    return r;
}

#endif
#if __CUDA_ARCH__ >= 900

__device__ __forceinline__ unsigned exceeds(Pair<BFloat16> x, Pair<BFloat16> bound) {
    unsigned r;
    asm("set.gtu.u32.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(x.bits), "r"(bound.bits));
    return r;
}

#endif
#endif  // __CUDACC__
