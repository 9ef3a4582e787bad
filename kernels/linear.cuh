// One lookup in a linear table: the device half of cupylut/tables/linear.py, which derives it.
#pragma once

#include "floating.cuh"

// A segment or a tail, y = slope·x + intercept.
template <typename Real>
struct alignas(2 * sizeof(Real)) Line {
    Real slope, intercept;
};

// What the lookup needs beside the lines; passed by value.
// Precondition: saturate(x·scale + offset)·width < the number of lines, for every x.
template <typename Real_>
struct LinearTable {
    using Real = Real_;
    using Entry = Line<Real>;

    Real scale, offset;  // x ↦ position in [0, 1], the tails included
    Real width;          // position ↦ number of the line
    Real low, high;      // clamp x where a tail is constant, since 0·∞ is NaN
    Real keep;           // f(x) = x where |x| ≤ keep: 0, or −1 for nowhere

    // Costs one 8-byte read (16 in double). Lines lie in 32 banks of 4 bytes, so a warp whose
    // inputs are spread over the table takes several passes: 5.8 on average for random lines.
    template <typename Scalar>
    __device__ __forceinline__ Scalar operator()(Scalar scalar, const Entry* lines) const {
        const Real x = widen(scalar);
        const Real position = multiply_add_saturated(x, scale, offset);
        const char* base = reinterpret_cast<const char*>(lines);
        const Entry line = *reinterpret_cast<const Entry*>(base + byte_offset(position, width));
        const Real clamped = minimum(maximum(x, low), high);
        Scalar y;
        narrow(where_exceeds(x, keep, multiply_add(line.slope, clamped, line.intercept)), y);
        return y;
    }

private:
    // ⌊position·width⌋·sizeof(Entry). Adding 1.5·2ᵏ rounded down, with k such that the fraction
    // bits kept are log2 of the size, leaves the byte offset in the low bits but for a mask.
    static __device__ __forceinline__ unsigned byte_offset(float position, float width) {
        return low_word(multiply_add_down(position, width, 1572864.0f)) & 0x3ffff8u;  // k = 20
    }
    static __device__ __forceinline__ unsigned byte_offset(double position, double width) {
        return low_word(add_down(position * width, 422212465065984.0)) & 0xfffff0u;  // k = 48
    }
};
