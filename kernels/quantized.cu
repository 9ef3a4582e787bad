// y = table(x) over an array, where x or y has 8 bits.
//
// Compiled once per kind of table:
//   TABLE  the lookup, such as QuantizedTable<unsigned char, unsigned short>:
//          Output operator()(unsigned, const Entry*), of the bits of an Input
//
// A vector is as many elements as the wider of the two has in 16 bytes.
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

extern "C" __global__ void quantized(
    const TABLE::Input* x, TABLE::Output* y, Index count, const Entry* entries, int bytes,
    TABLE table) {
    const Split parts = split(count, x, y);
    stream(count, parts, Quantized{x, y, parts, table}, [=] { return only_table(entries, bytes); });
}
