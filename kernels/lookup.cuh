// The results of lookups before they are rounded, for an element and for a vector of them.
//
// A table is Real operator()(Real, const Entry*), where Real is what its elements are computed in, or
// if it is one that TakesPairs, Results operator()(Pair<Scalar>, const Entry*) with two of them.
#pragma once

#include "stream.cuh"

template <typename Scalar, typename Table>
__device__ __forceinline__ Real<Scalar> looked_up(
    const Table& table, Scalar x, const typename Table::Entry* entries) {
    if constexpr (__is_base_of(TakesPairs, Table)) {
        return table(pair(x, x), entries).first;
    } else {
        return table(widen(x), entries);
    }
}

template <typename Scalar, typename Table>
__device__ __forceinline__ Reals<Scalar> looked_up(
    const Table& table, Words x, const typename Table::Entry* entries) {
    constexpr int LANES = lanes_of<Scalar>();
    Reals<Scalar> y;
    if constexpr (__is_base_of(TakesPairs, Table)) {
#pragma unroll
        for (int k = 0; k < LANES; k += 2) {
            const auto two = table(Pair<Scalar>{x.word[k / 2]}, entries);
            y.lane[k] = two.first;
            y.lane[k + 1] = two.second;
        }
    } else {
        const Vector<Scalar> xs = lanes<Scalar>(x);
#pragma unroll
        for (int k = 0; k < LANES; ++k) y.lane[k] = table(widen(xs.lane[k]), entries);
    }
    return y;
}
