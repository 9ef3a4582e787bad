// The items of 1 or 2 bytes in a word.
#pragma once

#ifndef __CUDACC__
#include "host.h"
#endif

// Item k of the items of SIZE bytes in a word, in one instruction: a shift and a mask are two, and
// where the compiler folds one of them into an address, that takes another.
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
