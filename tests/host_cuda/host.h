// The kernels as C++: CUDA's words, and the operations of kernels/floating.cuh.
//
// Every CUDA thread is a std::thread, the barrier a std::barrier; blocks run one after the other.
// So the sanitizers see the kernels as they are: ThreadSanitizer a missing barrier, AddressSanitizer
// an index out of bounds (of shared memory too: what a launch did not ask for is poisoned).
//
// Compiled with every variant of every kernel, so the threads are in a file of their own, host.cpp,
// and no header is included that takes long to read.
#pragma once

#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))

struct Dim {
    unsigned x;
};
inline thread_local Dim threadIdx, blockIdx;
inline Dim blockDim, gridDim;

inline constexpr std::size_t SHARED_BYTES = 232448;  // the most that any GPU so far gives a block
alignas(16) inline unsigned char shared[SHARED_BYTES];

void __syncthreads();

// Calls call(with) as every thread of every block.
void run_blocks(unsigned grid, unsigned block, std::size_t shared_bytes, void (*call)(const void*),
                const void* with);

// kernel<<<grid, block, shared_bytes>>>(arguments...)
template <typename Kernel, typename... Arguments>
void launch(Kernel kernel, unsigned grid, unsigned block, std::size_t shared_bytes,
            Arguments... arguments) {
    const auto thread = [=] { kernel(arguments...); };
    using Thread = decltype(thread);
    run_blocks(grid, block, shared_bytes, [](const void* p) { (*static_cast<Thread*>(p))(); },
               &thread);
}

#ifdef __SANITIZE_ADDRESS__
inline constexpr std::size_t GUARD_BYTES = 0;  // AddressSanitizer has its own
#else
inline constexpr std::size_t GUARD_BYTES = 256;
#endif

// An array that starts `offset` elements behind a 16-byte boundary, with guards around it.
template <typename T>
class Buffer {
    std::size_t before_, bytes_;
    std::vector<unsigned char> memory_;

public:
    Buffer(std::size_t count, std::size_t offset)
        : before_(offset * sizeof(T)), bytes_(count * sizeof(T)),
          memory_(before_ + bytes_ + GUARD_BYTES, 0xa5) {}
    T* data() { return reinterpret_cast<T*>(memory_.data() + before_); }
    std::size_t bytes() const { return bytes_; }
    bool guards_intact() const {
        for (std::size_t i = 0; i < before_ + bytes_ + GUARD_BYTES; ++i) {
            const bool inside = before_ <= i && i < before_ + bytes_;
            if (!inside && memory_[i] != 0xa5) return false;
        }
        return true;
    }
};

inline void receive(void* target, std::size_t bytes) {
    if (std::fread(target, 1, bytes, stdin) != bytes) {
        std::fputs("standard input ended early\n", stderr);
        std::exit(2);
    }
}

inline void send(const void* source, std::size_t bytes) {
    if (bytes) std::fwrite(source, 1, bytes, stdout);  // nothing may have no address
}

// --- the operations of kernels/floating.cuh ---

// The result of an operation in a rounding mode; volatile keeps it between the two calls.
template <typename Operation>
auto rounded(int mode, Operation operation) {
    std::fesetround(mode);
    volatile auto result = operation();
    std::fesetround(FE_TONEAREST);
    return result;
}

inline float multiply_add(float a, float b, float c) { return std::fma(a, b, c); }

inline float multiply_add_in(int mode, float a, float b, float c) {
    volatile float x = a, y = b, z = c;
    return rounded(mode, [&] { return std::fma(float(x), float(y), float(z)); });
}

inline float multiply_add_down(float a, float b, float c) {
    return multiply_add_in(FE_DOWNWARD, a, b, c);
}

inline float multiply_add_up(float a, float b, float c) {
    return multiply_add_in(FE_UPWARD, a, b, c);
}

inline float subtract_product_up(float c, float a, float b) { return multiply_add_up(-a, b, c); }

inline int max(int a, int b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }

inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return shift % 32 ? high << shift % 32 | low >> (32 - shift % 32) : high;
}

// As on the GPU, +0 is larger than −0, and a signalling NaN is one that the other operand replaces.
inline float minimum(float a, float b) {
    if (std::isnan(a)) return b;
    return a < b || std::isnan(b) || (a == b && std::signbit(a)) ? a : b;
}
inline float maximum(float a, float b) {
    if (std::isnan(a)) return b;
    return a > b || std::isnan(b) || (a == b && !std::signbit(a)) ? a : b;
}

inline float positive_part(float x) { return x < 0 ? -0.0f : x; }

inline float multiply_add_saturated(float a, float b, float c) {
    return minimum(maximum(multiply_add(a, b, c), 0.0f), 1.0f);
}

inline float add(float a, float b) { return a + b; }
inline float subtract(float a, float b) { return a - b; }
inline float multiply(float a, float b) { return a * b; }
inline double fused_multiply_add(double a, double b, double c) { return std::fma(a, b, c); }

// Not std::fmin, which returns NaN for a signalling one.
inline float bounded_magnitude(float x, float bound) {
    return std::fabs(x) < bound ? std::fabs(x) : bound;
}


inline unsigned exceeds(float x, float bound) { return x <= bound ? 0u : ~0u; }

inline float where_exceeds(float x, float bound, float y, float z) {
    return std::fabs(x) > bound ? y : z;
}

inline float unless_exceeds(float x, float bound, float y) { return x <= bound ? y : x; }

inline void narrow(double x, float& r) { r = float(x); }
inline double as_double(float x) { return x; }

inline double add_down(double a, double b) {
    volatile double x = a, y = b;
    return rounded(FE_DOWNWARD, [&] { return x + y; });
}

template <typename To, typename From>
To bits_as(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &x, sizeof result);
    return result;
}

inline float from_word(unsigned bits) { return bits_as<float>(std::uint32_t(bits)); }
inline unsigned low_word(float x) { return bits_as<std::uint32_t>(x); }
inline unsigned low_word(double x) { return unsigned(bits_as<std::uint64_t>(x)); }
inline unsigned high_word(double x) { return unsigned(bits_as<std::uint64_t>(x) >> 32); }
inline double from_words(unsigned high, unsigned low) {
    return bits_as<double>(std::uint64_t(high) << 32 | low);
}

struct Float16 {
    unsigned short bits;
};
struct BFloat16 {
    unsigned short bits;
};

inline float widen(Float16 x) {
    const int exponent = x.bits >> 10 & 31, mantissa = x.bits & 1023;
    float r = std::ldexp(float(exponent ? 1024 + mantissa : mantissa), (exponent ? exponent : 1) - 25);
    if (exponent == 31) {
        r = mantissa ? std::numeric_limits<float>::quiet_NaN()
                     : std::numeric_limits<float>::infinity();
    }
    return x.bits >> 15 ? -r : r;
}

inline float widen(BFloat16 x) { return bits_as<float>(std::uint32_t(x.bits) << 16); }

inline void narrow(float x, Float16& r) {
    const unsigned sign = std::signbit(x) ? 0x8000 : 0;
    const float a = std::fabs(x);
    if (std::isnan(x)) {
        r.bits = 0x7fff;
    } else if (a >= 65520) {
        r.bits = sign | 0x7c00;
    } else {
        const int exponent = a < 0x1p-14f ? -14 : std::ilogb(a);
        const int significand = int(std::nearbyint(std::ldexp(a, 10 - exponent)));  // ties to even
        r.bits = sign | (((exponent + 14) << 10) + significand);
    }
}

inline void narrow(float x, BFloat16& r) {
    const auto bits = bits_as<std::uint32_t>(x);
    r.bits = std::isnan(x) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
