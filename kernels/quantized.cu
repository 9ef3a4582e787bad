// y = table(x) over an array, where x or y has 8 bits.
//
// Compiled once per kind of table:
//   TABLE  the lookup, such as QuantizedTable<unsigned char, unsigned short>:
//          Output operator()(unsigned, const Entry*), of the bits of an Input
//
// Every block copies the table into shared memory, then strides over the array. A vector is as many
// elements as the wider of the two has in 16 bytes.
//
// Preconditions: x and y are aligned to their items; they are the same memory, of items of one size,
// or do not overlap; the table's entries are aligned to 16 bytes and an even number of bytes.
#include "quantized.cuh"
#include "stream.cuh"

using Entry = TABLE::Entry;

struct Quantized {
    static constexpr int INPUTS = 1;
    static constexpr int LANES = lanes_of<TABLE::Input, TABLE::Output>();
    static constexpr int ITEM = sizeof(TABLE::Input), ITEMS = sizeof(unsigned) / ITEM;  // of a word

    struct alignas(LANES * ITEM) Input {
        unsigned word[LANES / ITEMS];
    };
    using Results = Vector<TABLE::Output, LANES>;

    const TABLE::Input* x;
    TABLE::Output* y;
    Split parts;
    TABLE table;

    __device__ __forceinline__ Input load(Index i, int ahead) const {
        return (reinterpret_cast<const Input*>(x + parts.head) + i)[ahead];
    }

    __device__ __forceinline__ void store(
        Index i, int ahead, Input words, const Entry* entries) const {
        Results out;
#pragma unroll
        for (int k = 0; k < LANES; ++k) {
            out.lane[k] = table(item<ITEM>(words.word[k / ITEMS], k % ITEMS), entries);
        }
        (reinterpret_cast<Results*>(y + parts.head) + i)[ahead] = out;
    }

    __device__ __forceinline__ void single(Index i, const Entry* entries) const {
        y[i] = table(x[i], entries);
    }
};

// The table in shared memory: launch with `bytes` of it.
extern "C" __global__ void quantized(
    const TABLE::Input* x, TABLE::Output* y, Index count, const Entry* entries, int bytes,
    TABLE table) {
    extern __shared__ __align__(16) unsigned char shared[];
    stream(count, split(count, x, y), Quantized{x, y, split(count, x, y), table}, [=] {
        const Entry* copy = copied(shared, entries, bytes);
        __syncthreads();
        return copy;
    });
}

// The table in global memory, behind the first-level cache: for tables that do not fit.
extern "C" __global__ void quantized_uncached(
    const TABLE::Input* x, TABLE::Output* y, Index count, const Entry* entries, int,
    TABLE table) {
    stream(count, split(count, x, y), Quantized{x, y, split(count, x, y), table},
           [=] { return entries; });
}
