// One lookup by bit pattern of f before it is rounded: the device half of
// cupylut/tables/unrounded.py, which derives it.
#pragma once

#include "windows.cuh"

// What the lookup needs beside the results; passed by value.
template <typename Scalar>
struct UnroundedTable : TakesPairs {
    using Entry = float;
    struct Results {
        float first, second;
    };

    Windows<Scalar> windows;
    float reach, identity;                // f is the parabola up to ±reach, x above identity
    float c0, c1, c2;
    unsigned unused;

    // Costs one 4-byte read for an input, also where its result is not needed.
    __device__ __forceinline__ Results operator()(Pair<Scalar> x, const Entry* results) const {
        const unsigned places = windows.places(x);
        return {chosen(widen(x.first()), results[item<2>(places, 0)]),
                chosen(widen(x.second()), results[item<2>(places, 1)])};
    }

private:
    __device__ __forceinline__ float chosen(float x, float result) const {
        const float parabola = multiply_add(x, multiply_add(x, c2, c1), c0);
        return unless_exceeds(x, identity, where_exceeds(x, reach, result, parabola));
    }
};
