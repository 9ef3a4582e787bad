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

// What the lookup needs beside the segments; passed by value. UNIFORM: all |x| are below the split.
// Precondition: for every |x| ≤ limit the index below is that of an entry.
template <bool UNIFORM>
struct GateTable {
    using Entry = Quintic;

    float limit;         // f rounds to −0 below −limit, to x above
    float split, near;   // u = a·near where a < split, a·a from there on
    float scale;         // segments per unit of u
    float minus_step;    // −1/scale, exact
    float magic_step;    // MAGIC/scale, exact
    unsigned origin;     // the bits of MAGIC plus the number of the first entry

    static constexpr float MAGIC = 12582912.0f;  // 1.5·2²³: the sum's last bit is worth 1

    __device__ __forceinline__ float operator()(float x, const Entry* entries) const {
        const float a = bounded_magnitude(x, limit);
        const float factor = UNIFORM ? near : where_below(a, split, near);
        const float rounded = multiply_add(a, multiply(factor, scale), MAGIC);
        const float minus_centre = multiply_add(rounded, minus_step, magic_step);
        const float d = multiply_add(a, factor, minus_centre);

        const Entry c = entries[low_word(rounded) - origin];
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
