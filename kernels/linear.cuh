// One lookup in a linear table: the device half of cupylut/tables/linear.py, which derives it.
#pragma once

#include "floating.cuh"

// A segment or a tail, y = slope·x + intercept.
template <typename Real>
struct alignas(2 * sizeof(Real)) Line {
    Real slope, intercept;
};

// What the lookup needs beside the lines; passed by value.
// CONSTANT_RIGHT: whether the right tail is constant, not x or the like.
// Precondition: saturate(x·scale + offset)·width < the number of lines, for every x.
template <typename Real_, bool CONSTANT_RIGHT>
struct LinearTable {
    using Real = Real_;
    using Entry = Line<Real>;

    Real scale, offset;  // x ↦ position in [0, 1], the tails included
    Real width;          // position ↦ number of the line; in units in the last place of 2 if float
    Real low, high;      // clamp x where a tail is constant, since 0·∞ is NaN
    Real keep;           // f(x) = x where |x| ≤ keep: 0, or −1 for nowhere

    // Costs one 8-byte read (16 in double). Lines lie in 32 banks of 4 bytes, so a warp whose
    // inputs are spread over the table takes several passes: 5.8 on average for random lines.
    __device__ __forceinline__ Real operator()(Real x, const Entry* lines) const {
        const Real position = multiply_add_saturated(x, scale, offset);
        const Entry line = lines[number(position)];
        Real clamped = maximum(x, low);
        if (CONSTANT_RIGHT) clamped = minimum(clamped, high);
        return where_exceeds(x, keep, multiply_add(line.slope, clamped, line.intercept), x);
    }

private:
    // ⌊position·width⌋: added to 2 and rounded down, a number of units in the last place. The bits
    // of 2, 0x40000000, cost nothing: times the 8 bytes of a line they are 0 in a 32-bit address.
    __device__ __forceinline__ unsigned number(float position) const {
        return low_word(multiply_add_down(position, width, 2.0f)) - 0x40000000u;
    }
    __device__ __forceinline__ unsigned number(double position) const {
        return low_word(add_down(position * width, 0x1p52));
    }
};
