// One lookup by bit pattern: the device half of cupylut/tables/direct.py, which derives it.
#pragma once

#include "floating.cuh"

// The table of one sign, in magnitude patterns: entry base + i is the result for first + i; entry
// base + length is that of all larger ones, up to `identity`; from there on the result is x.
struct Window {
    unsigned first, length, base, identity;
};

// What the lookup needs beside the results; passed by value.
template <typename Scalar>
struct DirectTable {
    using Entry = unsigned short;

    Window positive, negative;
    float slope, intercept;  // below the windows f is its tangent
    float keep;              // f(x) = x where |x| ≤ keep: 0, or −1 for nowhere

    // Costs one 2-byte read, also where its result is not needed: reading something costs less
    // than a branch that a warp takes both ways.
    __device__ __forceinline__ Scalar operator()(Scalar scalar, const Entry* results) const {
        const unsigned magnitude = scalar.bits & 0x7fffu;
        const Window window = scalar.bits & 0x8000u ? negative : positive;
        const unsigned i = magnitude - window.first;  // wraps to a huge number below the window
        const Scalar tabulated = {results[window.base + (i < window.length ? i : window.length)]};
        const float x = widen(scalar);
        Scalar tangent;
        narrow(where_exceeds(x, keep, multiply_add_up(slope, x, intercept)), tangent);
        const Scalar y = magnitude < window.first ? tangent : tabulated;
        return magnitude < window.identity ? y : scalar;
    }
};
