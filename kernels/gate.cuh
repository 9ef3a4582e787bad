// One lookup in a gate table: the device half of cupylut/tables/gate.py, which derives it. The
// coefficients were fitted for exactly this sequence of operations: change an order, a rounding or
// a range, and they have to be fitted again.
#pragma once

#include "floating.cuh"

// The coefficients of one segment. The last word holds two bfloat16 numbers: c5 above, and below
// it what c0 lost when it was rounded.
struct alignas(8) Quintic {
    float c0, c1, c2, c3, c4;
    unsigned c5_and_rest;
};

// What the lookup needs beside the segments; passed by value. UNIFORM: limit ≤ split.
// Precondition: for every |x| ≤ limit the index below is that of an entry.
template <bool UNIFORM>
struct GateTable {
    using Entry = Quintic;

    float limit;  // f rounds to −0 below −limit, to x above
    float split;  // u = a·max(a, split)
    float magic;  // 1.5·2²³·step, a sum's last bit is worth step

    __device__ __forceinline__ float operator()(float x, const Entry* entries) const {
        const float a = bounded_magnitude(x, limit);
        const float factor = UNIFORM ? split : maximum(a, split);
        const float rounded = multiply_add(a, factor, magic);
        const float d = multiply_add(a, factor, subtract(magic, rounded));

        const Entry c = entries[low_word(rounded) - low_word(magic)];
        // c5 is taken with the other number still in its last bits: the fit knows what they are.
        float r = multiply_add(d, from_word(c.c5_and_rest), c.c4);
        r = multiply_add(d, r, c.c3);
        r = multiply_add(d, r, c.c2);
        r = multiply_add(d, r, c.c1);
        r = multiply_add(d, r, from_word(c.c5_and_rest << 16));
        const float z = multiply_add(a, c.c0, multiply(a, r));
        return multiply_add(z, -0x1p-80f, positive_part(x));
    }
};
