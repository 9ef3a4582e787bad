// One lookup by bit pattern: the device half of cupylut/tables/direct.py, which derives it.
#pragma once

#include "windows.cuh"

// What the lookup needs beside the results; passed by value. Two inputs at once: but for slope and
// intercept, both halves of each member are equal.
// Precondition: `windows.near` is a number as a float16 too.
template <typename Scalar>
struct DirectTable : TakesPairs {
    using Entry = unsigned short;

    Windows<Scalar> windows;
    Pair<Scalar> identity;  // f(x) = x above it
    float slope, intercept;
    unsigned sign;  // where the sign bits are that the tangent has from x

    // Costs one 2-byte read for an input, also where its result is not needed: reading something
    // costs less than a branch that a warp takes both ways.
    __device__ __forceinline__ Pair<Scalar> operator()(Pair<Scalar> x, const Entry* results) const {
        const unsigned places = windows.places(x);
        const Scalar first = {results[item<2>(places, 0)]}, second = {results[item<2>(places, 1)]};
        Pair<Scalar> tangent;
        narrow(multiply_add_up(slope, widen(x.first()), intercept),
               multiply_add_up(slope, widen(x.second()), intercept), tangent);
        // Magnitudes compare alike as either type, and as float16 every GPU compares two at once.
        const unsigned tabulated = magnitude_exceeds(
            Pair<Float16>{x.bits}, Pair<Float16>{windows.near.bits});
        const unsigned y =
            select(tabulated, pair(first, second).bits, select(sign, x.bits, tangent.bits));
        return {select(exceeds(x, identity), x.bits, y)};
    }
};
