// One lookup by bit pattern of f before it is rounded: the device half of
// cupylut/tables/unrounded.py, which derives it.
#pragma once

#include "items.cuh"
#include "pairs.cuh"

// What the lookup needs beside the results; passed by value. It takes two inputs at once, whose
// places in the table one instruction finds, as in direct.cuh.
template <typename Scalar>
struct alignas(8) UnroundedTable : TakesPairs {  // so that two members are loaded at a time
    using Entry = float;
    struct Results {
        float first, second;
    };

    Pair<Scalar> near, high;              // the window of positive inputs is behind near
    Pair<Scalar> minus_high, minus_near;  // that of negative ones includes both
    unsigned origin;                      // makes the place of minus_high 0
    float reach, identity;                // f is the parabola up to ±reach, x above identity
    float c0, c1, c2;

    // Costs one 4-byte read for an input, also where its result is not needed.
    __device__ __forceinline__ Results operator()(Pair<Scalar> x, const Entry* results) const {
        const unsigned places =
            clamped(x, near, high).bits - clamped(x, minus_high, minus_near).bits + origin;
        return {chosen(widen(x.first()), results[item<2>(places, 0)]),
                chosen(widen(x.second()), results[item<2>(places, 1)])};
    }

private:
    __device__ __forceinline__ float chosen(float x, float result) const {
        const float parabola = multiply_add(x, multiply_add(x, c2, c1), c0);
        return unless_exceeds(x, identity, where_exceeds(x, reach, result, parabola));
    }
};
