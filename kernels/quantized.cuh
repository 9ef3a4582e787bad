// One lookup of 8-bit numbers: the device half of cupylut/tables/quantized.py, which derives it.
#pragma once

#ifndef __CUDACC__
#include "host.h"
#endif

// Item k of the items of SIZE bytes in a word. Shifts and masks would take an instruction more, or
// be folded into the address, which then takes it.
template <int SIZE>
__device__ __forceinline__ unsigned item(unsigned word, int k) {
#ifdef __CUDACC__
    unsigned r;
    asm("prmt.b32 %0, %1, 0, %2;"
        : "=r"(r) : "r"(word), "r"(SIZE == 1 ? 0x4440 + k : 0x4410 + 0x22 * k));
    return r;
#else
    return word >> 8 * SIZE * k & ((1u << 8 * SIZE) - 1);
#endif
}

// What the lookup needs beside the results; passed by value. Inputs and results are bit patterns.
template <typename Input, typename Output>
struct QuantizedTable;

// 8-bit inputs have a result each. Costs one read. The 64 or 128 words of the table lie in 32 banks
// of shared memory: a warp takes at most 2 passes, or 4, whatever its inputs are.
template <typename Output_>
struct QuantizedTable<unsigned char, Output_> {
    using Input = unsigned char;
    using Output = Output_;
    using Entry = Output;

    __device__ __forceinline__ Output operator()(unsigned x, const Entry* results) const {
        return results[x];
    }
};

// 16-bit inputs have one within a window of magnitudes for each sign. Costs one 1-byte read.
template <typename Output_>
struct QuantizedTable<unsigned short, Output_> {
    using Input = unsigned short;
    using Output = Output_;
    using Entry = Output;

    int first;            // the magnitude where both windows begin
    int infinity;         // larger magnitudes are NaN
    int lowest, highest;  // the places of the last results of either sign, where the first is 0

    __device__ __forceinline__ Output operator()(unsigned x, const Entry* results) const {
        const Entry* origin = results - lowest;
        const int magnitude = x & 0x7fff;
        const int sign = static_cast<short>(x) >> 15;  // −1 or 0
        const int place = max(magnitude - first, 0) ^ sign;
        return origin[magnitude > infinity ? highest + 1 : min(max(place, lowest), highest)];
    }
};
