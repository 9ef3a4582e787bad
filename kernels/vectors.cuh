// A vector of elements, what one load or store of a thread takes: VECTOR_BYTES, see stream.cuh.
#pragma once

#include "pairs.cuh"

// How many elements a vector has: of arrays of several types as many of each as fit of the widest.
template <typename... Scalars>
__device__ constexpr int lanes_of() {
    unsigned widest = 0;
    ((widest = sizeof(Scalars) > widest ? sizeof(Scalars) : widest), ...);
    return VECTOR_BYTES / widest;
}

template <typename Scalar, int LANES_ = lanes_of<Scalar>()>
struct alignas(LANES_ * sizeof(Scalar)) Vector {
    static constexpr int LANES = LANES_;

    Scalar lane[LANES];
};

// A vector while it waits to be used. Kept as 16-bit lanes it would be taken apart and put together
// again, which costs an instruction for each of them.
struct alignas(VECTOR_BYTES) Words {
    unsigned word[VECTOR_BYTES / sizeof(unsigned)];
};

template <typename Scalar>
__device__ __forceinline__ Vector<Scalar> lanes(Words words) {
    Vector<Scalar> vector;
    memcpy(&vector, &words, VECTOR_BYTES);
    return vector;
}

template <typename Scalar>
__device__ __forceinline__ Words words_of(const Vector<Scalar>& vector) {
    Words words;
    memcpy(&words, &vector, VECTOR_BYTES);
    return words;
}

// What a Scalar is computed in.
template <typename Scalar>
using Real = decltype(widen(Scalar()));

// As many of them as a vector has elements.
template <typename Scalar>
struct Reals {
    Real<Scalar> lane[lanes_of<Scalar>()];
};

// All rounded.
template <typename Scalar>
__device__ __forceinline__ Words narrowed(const Reals<Scalar>& y) {
    constexpr int LANES = lanes_of<Scalar>();
    if constexpr (sizeof(Scalar) == 2) {
        Words words;
#pragma unroll
        for (int k = 0; k < LANES; k += 2) {
            Pair<Scalar> two;
            narrow(y.lane[k], y.lane[k + 1], two);
            words.word[k / 2] = two.bits;
        }
        return words;
    } else {
        Vector<Scalar> vector;
#pragma unroll
        for (int k = 0; k < LANES; ++k) vector.lane[k] = y.lane[k];
        return words_of(vector);
    }
}
