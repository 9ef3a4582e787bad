// Arrays in C order as rows: where an element stands in its row, without a division.
#pragma once

#include "stream.cuh"

// Precondition: elements are numbered below 2³¹; cupylut/rows.py makes the reciprocal.
struct Rows {
    unsigned width;              // elements of a row
    unsigned reciprocal, shift;  // i / width = i·reciprocal / 2^shift, both rounded down

    __device__ __forceinline__ unsigned row(unsigned i) const {
        return static_cast<unsigned long long>(i) * reciprocal >> shift;
    }
};

// Vectors that lie within one row, and in all arrays at their boundaries; else single elements.
template <typename Scalar, typename... Others>
__device__ __forceinline__ Split split_rows(
    Index count, const Rows& rows, const Scalar* first, const Others*... others) {
    constexpr int LANES = Vector<Scalar>::LANES;
    const bool aligned = !(misalignment<LANES>(first) | ... | misalignment<LANES>(others));
    if (!aligned || rows.width % LANES) return {count, 0, count};
    return {0, count / LANES, count};
}
