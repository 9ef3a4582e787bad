// The threads of a block, and their barrier.
#include "host.h"

#include <barrier>
#include <thread>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)
#define ASAN_UNPOISON_MEMORY_REGION(address, size)
#endif

static std::barrier<>* block_barrier;
void __syncthreads() { block_barrier->arrive_and_wait(); }

void run_blocks(unsigned grid, unsigned block, std::size_t shared_bytes, void (*call)(const void*),
                const void* with) {
    if (shared_bytes > SHARED_BYTES) std::abort();
    gridDim = {grid};
    blockDim = {block};
    ASAN_POISON_MEMORY_REGION(shared + shared_bytes, SHARED_BYTES - shared_bytes);
    std::barrier<> barrier(block);
    block_barrier = &barrier;
    std::vector<std::jthread> threads;  // for all blocks: to start them takes longer than to run
    for (unsigned t = 0; t < block; ++t) {
        threads.emplace_back([=] {
            threadIdx = {t};
            for (unsigned b = 0; b < grid; ++b) {
                blockIdx = {b};
                // NaN to whoever reads before it is written
                if (t == 0) std::memset(shared, 0xff, shared_bytes);
                __syncthreads();
                call(with);
                __syncthreads();
            }
        });
    }
    threads.clear();
    ASAN_UNPOISON_MEMORY_REGION(shared, SHARED_BYTES);
}
