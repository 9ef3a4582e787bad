// y = table(x) over an array.
//
// Compiled once per storage type and kind of table:
//   SCALAR  float, double, Float16 or BFloat16: what x and y hold
//   TABLE   the lookup, such as LinearTable<float, false>: Real operator()(Real, const Entry*), where
//           Real is float, or double for double, or if it is one that TakesPairs,
//           Pair<SCALAR> operator()(Pair<SCALAR>, const Entry*)
//
// Preconditions: x and y are aligned to SCALAR; they are the same memory or do not overlap; the
// table's entries are aligned to 16 bytes and an even number of bytes.
#include "compact.cuh"
#include "direct.cuh"
#include "full.cuh"
#include "gate.cuh"
#include "linear.cuh"
#include "lookup.cuh"
#include "polynomial.cuh"

using Entry = TABLE::Entry;

template <typename Scalar>
__device__ __forceinline__ Scalar evaluated(const TABLE& table, Scalar x, const Entry* entries) {
    if constexpr (__is_base_of(TakesPairs, TABLE)) {
        return table(pair(x, x), entries).first();
    } else {
        narrow(looked_up(table, x, entries), x);
        return x;
    }
}

template <typename Scalar>
__device__ __forceinline__ Words evaluated(const TABLE& table, Words x, const Entry* entries) {
    if constexpr (__is_base_of(TakesPairs, TABLE)) {
#pragma unroll
        for (unsigned& word : x.word) word = table(Pair<Scalar>{word}, entries).bits;
        return x;
    } else {
        return narrowed(looked_up<Scalar>(table, x, entries));
    }
}

struct Elementwise {
    static constexpr int INPUTS = 1;
    using Input = Words;

    const SCALAR* x;
    SCALAR* y;
    Split parts;
    TABLE table;

    __device__ __forceinline__ Input load(Index i, int ahead) const {
        return (words(x, parts) + i)[ahead];
    }

    __device__ __forceinline__ void store(
        Index i, int ahead, Input in, const Entry* entries) const {
        (words(y, parts) + i)[ahead] = evaluated<SCALAR>(table, in, entries);
    }

    __device__ __forceinline__ void single(Index i, const Entry* entries) const {
        y[i] = evaluated(table, x[i], entries);
    }
};

extern "C" __global__ void elementwise(
    const SCALAR* x, SCALAR* y, Index count, const Entry* entries, int bytes, TABLE table) {
    const Split parts = split(count, x, y);
    stream(count, parts, Elementwise{x, y, parts, table},
           [=] { return only_table(entries, bytes); });
}
