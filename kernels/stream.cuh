// One pass over arrays that lie side by side: 16-byte vectors between a head and a tail of single
// elements, in blocks that stride over the whole, with a table in shared memory.
#pragma once

constexpr int VECTOR_BYTES = 16;

template <typename Scalar>
struct alignas(VECTOR_BYTES) Vector {
    static constexpr int LANES = VECTOR_BYTES / sizeof(Scalar);

    Scalar lane[LANES];
};

// A vector while it waits to be used. Kept as 16-bit lanes it would be taken apart and put together
// again, which costs an instruction for each of them.
struct alignas(VECTOR_BYTES) Words {
    unsigned word[VECTOR_BYTES / sizeof(unsigned)];
};

template <typename Scalar>
__device__ __forceinline__ Vector<Scalar> lanes(Words words) {
    Vector<Scalar> vector;
    memcpy(&vector, &words, VECTOR_BYTES);
    return vector;
}

// How the arrays split: single elements [0, head), vectors, single elements [tail, count). Where
// they are misaligned differently, every element is single.
struct Split {
    long long head, vectors, tail;
};

__device__ __forceinline__ unsigned misalignment(const void* array) {
    return reinterpret_cast<unsigned long long>(array) % VECTOR_BYTES;
}

template <typename Scalar, typename... Others>
__device__ __forceinline__ Split split(
    long long count, const Scalar* first, const Others*... others) {
    if (((misalignment(others) != misalignment(first)) || ...)) return {count, 0, count};
    const long long to_boundary =
        (VECTOR_BYTES - misalignment(first)) % VECTOR_BYTES / sizeof(Scalar);
    const long long head = to_boundary < count ? to_boundary : count;
    const long long vectors = (count - head) / Vector<Scalar>::LANES;
    return {head, vectors, head + vectors * Vector<Scalar>::LANES};
}

// The vectors of an array behind its head.
template <typename Scalar>
__device__ __forceinline__ Vector<Scalar>* vectors(Scalar* array, Split parts) {
    return reinterpret_cast<Vector<Scalar>*>(array + parts.head);
}

template <typename Scalar>
__device__ __forceinline__ const Vector<Scalar>* vectors(const Scalar* array, Split parts) {
    return reinterpret_cast<const Vector<Scalar>*>(array + parts.head);
}

template <typename Scalar>
__device__ __forceinline__ const Words* words(const Scalar* array, Split parts) {
    return reinterpret_cast<const Words*>(array + parts.head);
}

// Runs the body over all elements. Each thread loads its first vectors before `prepare`, which
// copies the tables and waits for the block, so that the two latencies overlap.
//
//   body.load(i)              the inputs at vector i
//   body.store(i, in, t)      the results for them, with what prepare returned
//   body.single(i, t)         the same for element i
template <typename Body, typename Prepare>
__device__ __forceinline__ void stream(
    long long count, Split parts, const Body& body, Prepare prepare) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;

    long long i = thread;
    typename Body::Input next;
    if (i < parts.vectors) next = body.load(i);
    const auto tables = prepare();
    // Unrolled, the compiler would compute trip counts by 64-bit divisions before it starts.
#pragma unroll 1
    while (i < parts.vectors) {
        const typename Body::Input current = next;
        const long long following = i + stride;
        if (following < parts.vectors) next = body.load(following);
        body.store(i, current, tables);
        i = following;
    }
#pragma unroll 1
    for (i = thread; i < parts.head; i += stride) body.single(i, tables);
#pragma unroll 1
    for (i = parts.tail + thread; i < count; i += stride) body.single(i, tables);
}

// Copies a table's entries by all threads of the block; they are there behind the next barrier.
// Precondition: both are aligned to 16 bytes, and the number of bytes is even.
template <typename Entry>
__device__ __forceinline__ const Entry* copied(
    unsigned char* target, const Entry* entries, int bytes) {
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
    return reinterpret_cast<const Entry*>(target);
}
