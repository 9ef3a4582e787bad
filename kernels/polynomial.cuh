// One lookup in a polynomial table: the device half of cupylut/tables/polynomial.py, which derives
// it. The segments were fitted for this sequence of operations.
#pragma once

#include "floating.cuh"

// P(d) = (first coefficient + rest) + c[1]·d + … of one segment; rest is what rounding cost c[0].
template <typename Real, int DEGREE>
struct alignas((DEGREE + 2) * sizeof(Real) % 16 == 0  ? 16
               : (DEGREE + 2) * sizeof(Real) % 8 == 0 ? 8
                                                      : 4) Segment {
    Real c[DEGREE + 1];
    Real rest;
};

// What holds for x ≤ 0, or for x > 0 (CLOSED: x < 0, x ≥ 0); a = |x|.
template <typename Real>
struct Side {
    Real limit;             // f is its tail from there on
    Real offset;            // a + offset has 2^(mantissa bits − shift) segments to an octave
    Real scale;             // of P
    Real slope, intercept;  // of the line that is added
    Real reach;             // keeps ∞ out of the line where slope is 0, since 0·∞ is NaN
    unsigned shift;
    unsigned first;         // the lowest number of a segment, less the index of its entry
};

// What the lookup needs beside the segments; passed by value.
// Precondition: for every a ≤ limit of a side the index below is that of an entry.
template <typename Real_, int DEGREE, bool PRODUCT, bool CLOSED>
struct PolynomialTable {
    using Real = Real_;
    using Entry = Segment<Real, DEGREE>;

    Side<Real> left, right;
    Real keep;  // f(x) = x where |x| ≤ keep: 0, or −1 for nowhere

    __device__ __forceinline__ Real operator()(Real x, const Entry* entries) const {
        const Side<Real> side = (CLOSED ? at_least_zero(x) : positive(x)) ? right : left;
        const Real a = bounded_magnitude(x, side.limit);
        const unsigned number = leading_word(add(a, side.offset)) >> side.shift;
        const unsigned middle = __funnelshift_l(0x80000000u, number, side.shift);  // 1 behind it
        const Real center = from_leading_word<Real>(middle);
        const Real d = add(a, fused_multiply_add(center, Real(-1), side.offset));

        const Entry& p = entries[number - side.first];
        Real r = p.c[DEGREE];
#pragma unroll
        for (int i = DEGREE - 1; i > 0; --i) r = fused_multiply_add(d, r, p.c[i]);
        r = fused_multiply_add(d, r, p.rest);
        const Real z = PRODUCT ? fused_multiply_add(a, p.c[0], multiply(a, r)) : add(p.c[0], r);
        const Real beside = fused_multiply_add(z, side.scale, side.intercept);
        const Real y = fused_multiply_add(side.slope, bounded_magnitude(x, side.reach), beside);
        return where_exceeds(x, keep, y, x);
    }
};
