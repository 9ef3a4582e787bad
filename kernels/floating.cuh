// Floating-point arithmetic with one meaning everywhere, and the 16-bit types.
//
// CuPy appends -ftz=true to the options of every module that it compiles, and the last such option
// wins: float operators, comparisons and even intrinsics such as __fmaf_rn would then flush
// subnormals to zero. So every float operation of the kernels is spelled out in PTX, which says
// itself how it rounds. Double precision knows no flushing and uses plain operators; contraction
// is off (--fmad=false), so that they round after every step, as NumPy does.
//
// Compiled as C++ (the tests run the kernels on the CPU), the same names come from host.h.
#pragma once

#ifndef __CUDACC__
#include "host.h"
#else

// a·b + c, rounded once.
__device__ __forceinline__ float multiply_add(float a, float b, float c) {
    float r;
    asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}

// The same, rounded towards −∞.
__device__ __forceinline__ float multiply_add_down(float a, float b, float c) {
    float r;
    asm("fma.rm.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}

// The same, rounded towards +∞.
__device__ __forceinline__ float multiply_add_up(float a, float b, float c) {
    float r;
    asm("fma.rp.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}

// c − a·b, rounded towards +∞.
__device__ __forceinline__ float subtract_product_up(float c, float a, float b) {
    float r;
    asm("{ .reg .f32 minus_a; neg.f32 minus_a, %1; fma.rp.f32 %0, minus_a, %2, %3; }"
        : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}

// a·b + c, rounded to nearest and clamped to [0, 1]; 0 for NaN.
__device__ __forceinline__ float multiply_add_saturated(float a, float b, float c) {
    float r;
    asm("fma.rn.sat.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}

__device__ __forceinline__ float add(float a, float b) {
    float r;
    asm("add.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

__device__ __forceinline__ float subtract(float a, float b) {
    float r;
    asm("sub.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

__device__ __forceinline__ float multiply(float a, float b) {
    float r;
    asm("mul.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

// The other operand where one is NaN.
__device__ __forceinline__ float minimum(float a, float b) {
    float r;
    asm("min.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

__device__ __forceinline__ float maximum(float a, float b) {
    float r;
    asm("max.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

// max(x, −0); NaN where x is NaN.
__device__ __forceinline__ float positive_part(float x) {
    float r;
#if __CUDA_ARCH__ >= 800
    asm("max.NaN.f32 %0, %1, 0f80000000;" : "=f"(r) : "f"(x));
#else  // no such instruction
    asm("{ .reg .pred p; setp.lt.f32 p, %1, 0f00000000; selp.f32 %0, 0f80000000, %1, p; }"
        : "=f"(r) : "f"(x));
#endif
    return r;
}

// min(|x|, bound); bound where x is NaN.
__device__ __forceinline__ float bounded_magnitude(float x, float bound) {
    float r;
    asm("{ .reg .f32 a; abs.f32 a, %1; min.f32 %0, a, %2; }" : "=f"(r) : "f"(x), "f"(bound));
    return r;
}

// |x| > bound ? y : z; so z where x is NaN.
__device__ __forceinline__ float where_exceeds(float x, float bound, float y, float z) {
    float r;
    asm("{ .reg .pred p; .reg .f32 a;"
        " abs.f32 a, %1; setp.gt.f32 p, a, %2; selp.f32 %0, %3, %4, p; }"
        : "=f"(r) : "f"(x), "f"(bound), "f"(y), "f"(z));
    return r;
}

// x > bound ? x : y; x where it is NaN.
__device__ __forceinline__ float unless_exceeds(float x, float bound, float y) {
    float r;
    asm("{ .reg .pred p; setp.gtu.f32 p, %1, %2; selp.f32 %0, %1, %3, p; }"
        : "=f"(r) : "f"(x), "f"(bound), "f"(y));
    return r;
}

// All bits if x > bound or x is NaN, else none.
__device__ __forceinline__ unsigned exceeds(float x, float bound) {
    unsigned r;
    asm("set.gtu.u32.f32 %0, %1, %2;" : "=r"(r) : "f"(x), "f"(bound));
    return r;
}

__device__ __forceinline__ void narrow(double x, float& r) {
    asm("cvt.rn.f32.f64 %0, %1;" : "=f"(r) : "d"(x));
}

__device__ __forceinline__ double as_double(float x) {
    double r;
    asm("cvt.f64.f32 %0, %1;" : "=d"(r) : "f"(x));
    return r;
}

__device__ __forceinline__ double add_down(double a, double b) { return __dadd_rd(a, b); }
__device__ __forceinline__ float from_word(unsigned bits) { return __uint_as_float(bits); }
__device__ __forceinline__ unsigned low_word(float x) { return __float_as_uint(x); }
__device__ __forceinline__ unsigned low_word(double x) { return __double2loint(x); }
__device__ __forceinline__ unsigned high_word(double x) { return __double2hiint(x); }
__device__ __forceinline__ double from_words(unsigned high, unsigned low) {
    return __hiloint2double(high, low);
}
__device__ __forceinline__ double fused_multiply_add(double a, double b, double c) {
    return __fma_rn(a, b, c);
}

struct Float16 { unsigned short bits; };
struct BFloat16 { unsigned short bits; };

__device__ __forceinline__ float widen(Float16 x) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits));
    return r;
}

__device__ __forceinline__ float widen(BFloat16 x) { return __uint_as_float(unsigned(x.bits) << 16); }

__device__ __forceinline__ void narrow(float x, Float16& r) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
}

__device__ __forceinline__ void narrow(float x, BFloat16& r) {
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
#else  // no such instruction: round to nearest even on the bits; NaN stays NaN
    const unsigned bits = __float_as_uint(x);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    r.bits = nan ? 0x7fff : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
#endif
}

#endif  // __CUDACC__

// What the types have in common, whichever compiler it is.

// a·b + c: rounded twice in double, as NumPy does; `fused_multiply_add` is rounded once in either.
__device__ __forceinline__ double multiply_add(double a, double b, double c) { return a * b + c; }

__device__ __forceinline__ float fused_multiply_add(float a, float b, float c) {
    return multiply_add(a, b, c);
}
__device__ __forceinline__ double add(double a, double b) { return a + b; }
__device__ __forceinline__ double multiply(double a, double b) { return a * b; }

__device__ __forceinline__ double minimum(double a, double b) { return fmin(a, b); }
__device__ __forceinline__ double maximum(double a, double b) { return fmax(a, b); }

__device__ __forceinline__ double multiply_add_saturated(double a, double b, double c) {
    return minimum(maximum(a * b + c, 0.0), 1.0);
}

__device__ __forceinline__ double where_exceeds(double x, double bound, double y, double z) {
    return fabs(x) > bound ? y : z;
}

__device__ __forceinline__ double bounded_magnitude(double x, double bound) {
    return fabs(x) < bound ? fabs(x) : bound;
}

// x > 0, but NaN has a sign too.
__device__ __forceinline__ bool positive(float x) { return static_cast<int>(low_word(x)) > 0; }
__device__ __forceinline__ bool positive(double x) { return x > 0; }

// x ≥ 0, −0 too.
__device__ __forceinline__ bool at_least_zero(float x) { return low_word(x) <= 0x80000000u; }
__device__ __forceinline__ bool at_least_zero(double x) { return x >= 0; }

// The word with sign, exponent and first fraction bits, and the number that has it and zeros.
__device__ __forceinline__ unsigned leading_word(float x) { return low_word(x); }
__device__ __forceinline__ unsigned leading_word(double x) { return high_word(x); }
template <typename Real>
__device__ __forceinline__ Real from_leading_word(unsigned word) {
    if constexpr (sizeof(Real) == sizeof word) {
        return from_word(word);
    } else {
        return from_words(word, 0);
    }
}

__device__ __forceinline__ double as_double(double x) { return x; }
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ void narrow(float x, float& r) { r = x; }
__device__ __forceinline__ void narrow(double x, double& r) { r = x; }
