// The threads of a block, and their barrier: those of POSIX, whose header is read in no time.
#include "host.h"

#include <pthread.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)
#define ASAN_UNPOISON_MEMORY_REGION(address, size)
#endif

// Two that take turns: to ThreadSanitizer, who leaves a barrier late comes after all that others did
// before they waited at the same one again.
static pthread_barrier_t block_barriers[2];
static thread_local unsigned waits;
void __syncthreads() { pthread_barrier_wait(&block_barriers[waits++ % 2]); }

namespace {

struct Thread {
    unsigned index;
    std::size_t shared_bytes;
    void (*call)(const void*);
    const void* with;
    pthread_t id;
};

void* run_thread(void* given) {
    const auto& thread = *static_cast<const Thread*>(given);
    threadIdx = {thread.index};
    for (unsigned b = 0; b < gridDim.x; ++b) {
        blockIdx = {b};
        // NaN to whoever reads before it is written
        if (thread.index == 0) std::memset(shared, 0xff, thread.shared_bytes);
        __syncthreads();
        thread.call(thread.with);
        __syncthreads();
    }
    return nullptr;
}

}  // namespace

void run_blocks(unsigned grid, unsigned block, std::size_t shared_bytes, void (*call)(const void*),
                const void* with) {
    if (shared_bytes > SHARED_BYTES) std::abort();
    gridDim = {grid};
    blockDim = {block};
    ASAN_POISON_MEMORY_REGION(shared + shared_bytes, SHARED_BYTES - shared_bytes);
    for (auto& barrier : block_barriers) pthread_barrier_init(&barrier, nullptr, block);
    std::vector<Thread> threads(block);  // for all blocks: to start them takes longer than to run
    for (unsigned t = 0; t < block; ++t) {
        threads[t] = {t, shared_bytes, call, with, {}};
        if (pthread_create(&threads[t].id, nullptr, run_thread, &threads[t])) std::abort();
    }
    for (const Thread& thread : threads) pthread_join(thread.id, nullptr);
    for (auto& barrier : block_barriers) pthread_barrier_destroy(&barrier);
    ASAN_UNPOISON_MEMORY_REGION(shared, SHARED_BYTES);
}
