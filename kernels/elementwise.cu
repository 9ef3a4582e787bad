// y = table(x) over an array.
//
// Compiled once per storage type and kind of table:
//   SCALAR  float, double, Float16 or BFloat16: what x and y hold
//   TABLE   the lookup, such as LinearTable<float>: SCALAR operator()(SCALAR, const Entry*)
//
// Every block copies the table into shared memory, then strides over the array. Each thread reads
// its first vector before the copy and the barrier, so that the two latencies overlap. Arrays are
// read and written 16 bytes at a time between a head and a tail of single elements; where x and y
// are misaligned differently, every element is single.
//
// Preconditions: x and y are aligned to SCALAR; they are the same memory or do not overlap; the
// table's entries are aligned to 16 bytes and an even number of bytes.
#include "direct.cuh"
#include "gate.cuh"
#include "linear.cuh"

using Entry = TABLE::Entry;

constexpr int VECTOR_BYTES = 16;
constexpr int LANES = VECTOR_BYTES / sizeof(SCALAR);

struct alignas(VECTOR_BYTES) Vector {
    SCALAR lane[LANES];
};

__device__ __forceinline__ Vector evaluate(const TABLE& table, const Entry* entries, Vector x) {
    Vector y;
#pragma unroll
    for (int i = 0; i < LANES; ++i) y.lane[i] = table(x.lane[i], entries);
    return y;
}

// How an array splits: single elements [0, head), vectors, single elements [tail, count).
struct Split {
    long long head, vectors, tail;
};

__device__ __forceinline__ Split split(const SCALAR* x, const SCALAR* y, long long count) {
    const auto misalignment = reinterpret_cast<unsigned long long>(x) % VECTOR_BYTES;
    if (misalignment != reinterpret_cast<unsigned long long>(y) % VECTOR_BYTES) {
        return {count, 0, count};
    }
    const long long to_boundary = (VECTOR_BYTES - misalignment) % VECTOR_BYTES / sizeof(SCALAR);
    const long long head = to_boundary < count ? to_boundary : count;
    const long long vectors = (count - head) / LANES;
    return {head, vectors, head + vectors * LANES};
}

template <typename Prepare>
__device__ __forceinline__ void run(
    const SCALAR* x, SCALAR* y, long long count, const TABLE& table, Prepare prepare) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const Split parts = split(x, y, count);
    const Vector* source = reinterpret_cast<const Vector*>(x + parts.head);
    Vector* target = reinterpret_cast<Vector*>(y + parts.head);

    long long i = thread;
    Vector next;
    if (i < parts.vectors) next = source[i];
    const Entry* entries = prepare();
    // Unrolled, the compiler would compute trip counts by 64-bit divisions before it starts.
#pragma unroll 1
    while (i < parts.vectors) {
        const Vector current = next;
        const long long following = i + stride;
        if (following < parts.vectors) next = source[following];
        target[i] = evaluate(table, entries, current);
        i = following;
    }
#pragma unroll 1
    for (i = thread; i < parts.head; i += stride) y[i] = table(x[i], entries);
#pragma unroll 1
    for (i = parts.tail + thread; i < count; i += stride) y[i] = table(x[i], entries);
}

// Copies the entries by all threads of the block; they are there behind the next barrier.
__device__ __forceinline__ void copy(unsigned char* target, const Entry* entries, int bytes) {
    struct alignas(16) Word {
        unsigned part[4];
    };
    const int words = bytes / 16, halves = bytes % 16 / 2;
    const Word* source = reinterpret_cast<const Word*>(entries);
    for (int i = threadIdx.x; i < words; i += blockDim.x) {
        reinterpret_cast<Word*>(target)[i] = source[i];
    }
    for (int i = threadIdx.x; i < halves; i += blockDim.x) {
        reinterpret_cast<unsigned short*>(target + 16 * words)[i] =
            reinterpret_cast<const unsigned short*>(source + words)[i];
    }
}

// The table in shared memory: launch with `bytes` of it.
extern "C" __global__ void elementwise(
    const SCALAR* x, SCALAR* y, long long count, const Entry* entries, int bytes, TABLE table) {
    extern __shared__ __align__(16) unsigned char shared[];
    run(x, y, count, table, [=] {
        copy(shared, entries, bytes);
        __syncthreads();
        return reinterpret_cast<const Entry*>(shared);
    });
}

// The table in global memory, behind the first-level cache: for tables that do not fit.
extern "C" __global__ void elementwise_uncached(
    const SCALAR* x, SCALAR* y, long long count, const Entry* entries, int, TABLE table) {
    run(x, y, count, table, [=] { return entries; });
}
