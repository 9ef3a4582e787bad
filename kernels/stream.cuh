// One pass over arrays that lie side by side: vectors between a head and a tail of single elements,
// in blocks that stride over the whole, with a table in shared memory.
//
// Compiled with the numbers of cupylut/tuning.py:
//   VECTOR_BYTES  a vector, that is one load or store of a thread
//   IN_FLIGHT     how many bytes a thread has on their way at once
//   INDEX         counts elements: unsigned below 2³¹ of them, long long from there on
//   IN_SHARED     true: each block copies its tables to dynamic shared memory, which the launch asks
//                 for; false: tables too large for that are read from global memory
#pragma once

#ifndef INDEX  // those of most GPUs
#define VECTOR_BYTES 16
#define IN_FLIGHT 32
#define INDEX unsigned
#endif
#ifndef IN_SHARED
#define IN_SHARED true
#endif

#include "vectors.cuh"

using Index = INDEX;

// How the arrays split: single elements [0, head), vectors, single elements [tail, count). Where
// they are misaligned differently, every element is single.
struct Split {
    Index head, vectors, tail;
};

// How many elements the array begins behind the boundary of a vector.
template <int LANES, typename Scalar>
__device__ __forceinline__ unsigned misalignment(const Scalar* array) {
    return reinterpret_cast<unsigned long long>(array) / sizeof(Scalar) % LANES;
}

template <typename Scalar, typename... Others>
__device__ __forceinline__ Split split(
    Index count, const Scalar* first, const Others*... others) {
    constexpr int LANES = lanes_of<Scalar, Others...>();
    const unsigned misaligned = misalignment<LANES>(first);
    if (((misalignment<LANES>(others) != misaligned) || ...)) return {count, 0, count};
    const Index to_boundary = (LANES - misaligned) % LANES;
    const Index head = to_boundary < count ? to_boundary : count;
    const Index vectors = (count - head) / LANES;
    return {head, vectors, head + vectors * LANES};
}

// The vectors of an array behind its head.
template <typename Scalar>
__device__ __forceinline__ Words* words(Scalar* array, Split parts) {
    return reinterpret_cast<Words*>(array + parts.head);
}

template <typename Scalar>
__device__ __forceinline__ const Words* words(const Scalar* array, Split parts) {
    return reinterpret_cast<const Words*>(array + parts.head);
}

// Runs the body over all elements. Each thread loads its first vectors before `prepare`, which
// copies the tables and waits for the block, so that the two latencies overlap.
//
//   Body::INPUTS                  how many arrays are read from memory, of which a thread loads
//                                 IN_FLIGHT bytes at a time, or a vector of each if that is more
//   body.load(i, ahead)           the inputs at vector i + ahead
//   body.store(i, ahead, in, t)   the results for them, with what prepare returned
//   body.single(i, t)             the same for element i
//
// `ahead` is a constant. Kernels of one array add it to the pointer, and not to i: so it is part of
// the instruction that loads. Those of several add it to i, which the arrays have in common.
//
// Precondition: a block is whole warps. Each takes a row of vectors, in which those of a thread are
// WARP apart.
template <typename Body, typename Prepare>
__device__ __forceinline__ void stream(
    Index count, Split parts, const Body& body, Prepare prepare) {
    constexpr unsigned WARP = 32;
    constexpr int BYTES = Body::INPUTS * VECTOR_BYTES;
    constexpr int VECTORS = IN_FLIGHT > BYTES ? IN_FLIGHT / BYTES : 1;
    constexpr unsigned LAST = (VECTORS - 1) * WARP;

    const Index stride = static_cast<Index>(gridDim.x) * blockDim.x;
    const Index thread = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
    const Index step = static_cast<Index>(gridDim.x) * (blockDim.x * VECTORS);
    Index i = thread / WARP * (WARP * VECTORS) + thread % WARP;

    typename Body::Input in[VECTORS];
    const auto load = [&] {  // whether there were all
        if (i + LAST < parts.vectors) {
#pragma unroll
            for (int k = 0; k < VECTORS; ++k) in[k] = body.load(i, k * WARP);
            return true;
        }
#pragma unroll
        for (int k = 0; k < VECTORS - 1; ++k) {
            if (i + k * WARP < parts.vectors) in[k] = body.load(i, k * WARP);
        }
        return false;
    };
    bool all = load();
    const auto tables = prepare();
    // Loads are issued at the end of a turn and waited for at the beginning of the next one: meanwhile
    // other warps run.
    while (all) {
#pragma unroll
        for (int k = 0; k < VECTORS; ++k) body.store(i, k * WARP, in[k], tables);
        i += step;
        all = load();
    }
#pragma unroll
    for (int k = 0; k < VECTORS - 1; ++k) {
        if (i + k * WARP < parts.vectors) body.store(i, k * WARP, in[k], tables);
    }
#pragma unroll 1
    for (i = thread; i < parts.head; i += stride) body.single(i, tables);
#pragma unroll 1
    for (i = parts.tail + thread; i < count; i += stride) body.single(i, tables);
}

// Where the threads read a table's entries, once they are `ready`: their copy in shared memory, made
// by all threads of the block, or with IN_SHARED false where they lie.
// Precondition: both are aligned to 16 bytes, and the number of bytes is even.
template <typename Entry>
__device__ __forceinline__ const Entry* placed(
    unsigned char* shared, const Entry* entries, int bytes) {
    if constexpr (!IN_SHARED) return entries;
    struct alignas(16) Word {
        unsigned part[4];
    };
    const int words = bytes / 16, halves = bytes % 16 / 2;
    const Word* source = reinterpret_cast<const Word*>(entries);
    for (int i = threadIdx.x; i < words; i += blockDim.x) {
        reinterpret_cast<Word*>(shared)[i] = source[i];
    }
    for (int i = threadIdx.x; i < halves; i += blockDim.x) {
        reinterpret_cast<unsigned short*>(shared + 16 * words)[i] =
            reinterpret_cast<const unsigned short*>(source + words)[i];
    }
    return reinterpret_cast<const Entry*>(shared);
}

__device__ __forceinline__ void ready() {
    if constexpr (IN_SHARED) __syncthreads();
}

// Where the threads read the only table of a kernel; it is ready.
template <typename Entry>
__device__ __forceinline__ const Entry* only_table(const Entry* entries, int bytes) {
    extern __shared__ __align__(16) unsigned char shared[];
    const Entry* found = placed(shared, entries, bytes);
    ready();
    return found;
}
