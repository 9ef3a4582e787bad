// Where the results are that a table keeps of a 16-bit type's inputs: the device half of
// cupylut/tables/windows.py, which derives it.
#pragma once

#include "items.cuh"
#include "pairs.cuh"

// Passed by value. It takes two inputs at once, whose places one instruction finds: both halves of
// each member are equal.
template <typename Scalar>
struct alignas(8) Windows {  // so that two members are loaded at a time
    Pair<Scalar> near, high;              // the window of positive inputs is behind near
    Pair<Scalar> minus_high, minus_near;  // that of negative ones includes both
    unsigned origin;                      // makes the place of minus_high 0
    unsigned unused;

    // The places of two inputs, each a half of the word.
    __device__ __forceinline__ unsigned places(Pair<Scalar> x) const {
        return clamped(x, near, high).bits - clamped(x, minus_high, minus_near).bits + origin;
    }
};
