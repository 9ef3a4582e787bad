// y = f(x), and y = z · f(x), by a formula in float32 and no table: what tables are measured against.
//
// Compiled once per storage type and formula:
//   SCALAR   float, Float16 or BFloat16: what the arrays hold
//   FORMULA  one of the functions below, such as accurate::gelu: float(float)
//
// The passes over the arrays are those of the tables, elementwise.cu and gated.cu, with the formula
// for a table. So the time between a formula and a table is that of the function, and `identity`,
// which computes nothing, has the time of the pass itself.
//
// CuPy lets float operators flush subnormals (floating.cuh); here they may, and multiply-adds that a
// compiler would contract are spelled out, as contraction is off.
#include "floating.cuh"

#ifdef __CUDACC__
// The approximations of the special-function unit, with the errors of the PTX manual (tanh: relative,
// 2⁻¹¹; 2^x and log2 x: 2 ulp and 2⁻²²; 1/x: 1 ulp).
__device__ __forceinline__ float rough_tanh(float x) {
    float r;
    asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

__device__ __forceinline__ float rough_exp2(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

__device__ __forceinline__ float rough_log2(float x) {
    float r;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

__device__ __forceinline__ float rough_reciprocal(float x) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
#endif

__device__ __forceinline__ float identity(float x) { return x; }

// As PyTorch computes them. Wrong by at most 2⁻²¹ · max(|x|, 1), which in the negative tail is all
// of the result; gelu, gelu_tanh, silu and mish of −∞ are NaN.
namespace accurate {

__device__ __forceinline__ float gelu(float x) {
    const float half = 0.5f * x;
    return fmaf(half, erff(x * 0.70710678f), half);
}

__device__ __forceinline__ float gelu_tanh(float x) {
    const float half = 0.5f * x;
    const float cube = x * x * x;
    return fmaf(half, tanhf(0.79788456f * fmaf(0.044715f, cube, x)), half);
}

__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

__device__ __forceinline__ float mish(float x) { return x * tanhf(log1pf(expf(x))); }

__device__ __forceinline__ float softplus(float x) {
    return x > 20.0f ? x : log1pf(expf(x));
}

}  // namespace accurate

// In as few instructions as there are. gelu and gelu_tanh are wrong by at most 2⁻¹¹ · max(|x|, 1);
// gelu is gelu_tanh, as tanh's error is as large as the difference. The others are wrong by at most
// 2⁻¹⁹ · max(|x|, 1). All but softplus give NaN for −∞.
namespace fast {

constexpr float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

__device__ __forceinline__ float gelu_tanh(float x) {
    const float half = 0.5f * x;
    return fmaf(half, rough_tanh(x * fmaf(0.035677408f, x * x, 0.79788456f)), half);
}

__device__ __forceinline__ float gelu(float x) { return gelu_tanh(x); }

__device__ __forceinline__ float silu(float x) {
    return x * rough_reciprocal(1.0f + rough_exp2(-LOG2_E * x));
}

// tanh(log(1 + e)) = (e² + 2e) / (e² + 2e + 2), which is 1 from e²⁰ on; beyond, e² would overflow.
__device__ __forceinline__ float mish(float x) {
    const float e = rough_exp2(LOG2_E * fminf(x, 20.0f));
    const float n = fmaf(e, e, e + e);
    return x * (n * rough_reciprocal(n + 2.0f));
}

__device__ __forceinline__ float softplus(float x) {
    const float e = rough_exp2(-LOG2_E * fabsf(x));
    return fmaf(LN_2, rough_log2(1.0f + e), fmaxf(x, 0.0f));
}

}  // namespace fast

// What the passes take for a table: it has no entries, and no shared memory is asked for.
struct Formula {
    using Entry = float;

    __device__ __forceinline__ float operator()(float x, const Entry*) const { return FORMULA(x); }
};

#define TABLE Formula
#include "elementwise.cu"
#include "gated.cu"
