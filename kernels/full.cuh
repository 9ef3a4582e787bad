// One lookup among the results of all inputs: the device half of cupylut/tables/full.py.
#pragma once

#include "items.cuh"
#include "pairs.cuh"

// Precondition: there are 65,536 results, in the order of the inputs' bit patterns.
template <typename Scalar>
struct FullTable : TakesPairs {
    using Entry = unsigned short;

    // Costs one 2-byte read for an input and next to nothing else. But a block fills 128 KB before
    // it begins, as much as 8 vectors of an array for each of 1,024 threads, and leaves no room for a
    // second block.
    __device__ __forceinline__ Pair<Scalar> operator()(Pair<Scalar> x, const Entry* results) const {
        return pair<Scalar>({results[item<2>(x.bits, 0)]}, {results[item<2>(x.bits, 1)]});
    }
};
