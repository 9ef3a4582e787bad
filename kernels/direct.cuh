// One lookup by bit pattern: the device half of cupylut/tables/direct.py, which derives it.
#pragma once

#include "floating.cuh"

// Where a table of one sign lies: entry base + i is the result for magnitude pattern first + i.
struct Window {
    unsigned first, length, base;
};

// The rule outside of a window: slope·x + intercept, rounded up.
struct Rule {
    float slope, intercept;
};

// What the lookup needs beside the results; passed by value.
template <typename Scalar>
struct DirectTable {
    using Entry = unsigned short;

    Window positive, negative;
    Rule near_positive, near_negative, far_positive, far_negative;
    float low, high;  // clamp x where a rule is constant, since 0·∞ is NaN
    float keep;       // f(x) = x where |x| ≤ keep: 0, or −1 for nowhere

    // Costs one 2-byte read, also where the rule decides: reading something costs less than a
    // branch that a warp takes both ways.
    __device__ __forceinline__ Scalar operator()(Scalar scalar, const Entry* results) const {
        const unsigned magnitude = scalar.bits & 0x7fffu;
        const bool minus = scalar.bits & 0x8000u;
        const Window window = minus ? negative : positive;
        const unsigned i = magnitude - window.first;  // wraps to a huge number below the window
        const bool inside = i < window.length;
        const Scalar tabulated = {results[inside ? window.base + i : 0]};

        const Rule near = minus ? near_negative : near_positive;
        const Rule far = minus ? far_negative : far_positive;
        const Rule rule = magnitude < window.first ? near : far;
        const float x = widen(scalar);
        const float clamped = minimum(maximum(x, low), high);
        Scalar ruled;
        narrow(where_exceeds(x, keep, multiply_add_up(rule.slope, clamped, rule.intercept)), ruled);
        return inside ? tabulated : ruled;
    }
};
