// y = table(x) over an array.
//
// Compiled once per storage type and kind of table:
//   SCALAR  float, double, Float16 or BFloat16: what x and y hold
//   TABLE   the lookup, such as LinearTable<float>: SCALAR operator()(SCALAR, const Entry*)
//
// Every block copies the table into shared memory, then strides over the array.
//
// Preconditions: x and y are aligned to SCALAR; they are the same memory or do not overlap; the
// table's entries are aligned to 16 bytes and an even number of bytes.
#include "compact.cuh"
#include "direct.cuh"
#include "gate.cuh"
#include "linear.cuh"
#include "polynomial.cuh"
#include "stream.cuh"

using Entry = TABLE::Entry;

struct Elementwise {
    using Input = Words;
    using Output = Vector<SCALAR>;

    const SCALAR* x;
    SCALAR* y;
    const Input* source;
    Output* target;
    TABLE table;

    __device__ __forceinline__ Input load(long long i) const { return source[i]; }

    __device__ __forceinline__ void store(long long i, Input words, const Entry* entries) const {
        const Output x = lanes<SCALAR>(words);
        Output y;
#pragma unroll
        for (int k = 0; k < Output::LANES; ++k) y.lane[k] = table(x.lane[k], entries);
        target[i] = y;
    }

    __device__ __forceinline__ void single(long long i, const Entry* entries) const {
        y[i] = table(x[i], entries);
    }
};

template <typename Prepare>
__device__ __forceinline__ void run(
    const SCALAR* x, SCALAR* y, long long count, const TABLE& table, Prepare prepare) {
    const Split parts = split(count, x, y);
    stream(count, parts, Elementwise{x, y, words(x, parts), vectors(y, parts), table}, prepare);
}

// The table in shared memory: launch with `bytes` of it.
extern "C" __global__ void elementwise(
    const SCALAR* x, SCALAR* y, long long count, const Entry* entries, int bytes, TABLE table) {
    extern __shared__ __align__(16) unsigned char shared[];
    run(x, y, count, table, [=] {
        const Entry* copy = copied(shared, entries, bytes);
        __syncthreads();
        return copy;
    });
}

// The table in global memory, behind the first-level cache: for tables that do not fit.
extern "C" __global__ void elementwise_uncached(
    const SCALAR* x, SCALAR* y, long long count, const Entry* entries, int, TABLE table) {
    run(x, y, count, table, [=] { return entries; });
}
