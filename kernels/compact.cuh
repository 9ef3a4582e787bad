// One lookup in a compact table: the device half of cupylut/tables/compact.py, which derives it.
// The coefficients were fitted for exactly this sequence of operations: change an order, a rounding
// or a range, and they have to be fitted again.
#pragma once

#include "floating.cuh"

// What the lookup needs beside the coefficients; passed by value. q is the polynomial squared
// SQUARINGS times.
// Precondition: segment(t) < SEGMENTS for every t in [0, limit].
template <int DEGREE, int SQUARINGS, int SHIFT>
struct CompactTable {
    using Entry = float;

    float limit;          // f rounds to −0 below −limit, to x above
    float scale, offset;  // the bits of t·scale + offset number the segments
    unsigned first;       // those of offset, shifted: the number of the first

    // The coefficients of one power lie in as many words as there are banks: each of the DEGREE + 1
    // reads is one pass for any inputs of a warp.
    static constexpr int SEGMENTS = 32;

    // The result is to be rounded to the table's dtype, which then is f rounded correctly.
    __device__ __forceinline__ float operator()(float x, const Entry* entries) const {
        const float t = bounded_magnitude(x, limit);

        const Entry* c = entries + segment(t);
        float p = c[DEGREE * SEGMENTS];
#pragma unroll
        for (int power = DEGREE - 1; power >= 0; --power) {
            p = multiply_add(p, t, c[power * SEGMENTS]);
        }
#pragma unroll
        for (int i = 0; i < SQUARINGS; ++i) p = multiply(p, p);

        return subtract_product_up(positive_part(x), t, p);
    }

private:
    __device__ __forceinline__ unsigned segment(float t) const {
        const unsigned number = low_word(multiply_add(t, scale, offset)) >> SHIFT;
        // The bits of 2, 0x40000000, cost nothing: times the 4 bytes of an entry they are 2^32, which
        // is 0 in an address.
        return number - (SHIFT == 0 ? 0x40000000u : first);
    }
};
