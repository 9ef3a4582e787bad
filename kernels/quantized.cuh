// One lookup of 8-bit numbers: the device half of cupylut/tables/quantized.py, which derives it.
#pragma once

#include "items.cuh"

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
