// y = z · table(x) over arrays, and the gradient of that.
//
// Compiled once per storage type and kinds of table:
//   SCALAR  float, double, Float16 or BFloat16: what the arrays hold
//   TABLE   the lookup of f, Real operator()(Real, const Entry*), where Real is float, or double for
//           double: results are rounded to SCALAR once, after the products
//   SLOPE   that of f′, for the gradient; without it there is only `product`
//
// Preconditions: arrays are aligned to SCALAR; an output is the same memory as an input or does not
// overlap it; the tables' entries are aligned to 16 bytes and an even number of bytes.
#include "direct.cuh"
#include "gate.cuh"
#include "linear.cuh"
#include "polynomial.cuh"
#include "stream.cuh"

// z · f(x); with f′ in place of f, the gradient of f for an incoming gradient z.
struct Product {
    using Lanes = Vector<SCALAR>;
    using Entry = TABLE::Entry;
    struct Input {
        Words x, z;
    };

    const SCALAR *x, *z;
    SCALAR* y;
    Split parts;
    TABLE value;

    __device__ __forceinline__ SCALAR operator()(SCALAR x, SCALAR z, const Entry* entries) const {
        SCALAR y;
        narrow(multiply(value(widen(x), entries), widen(z)), y);
        return y;
    }

    __device__ __forceinline__ Input load(Index i) const {
        return {words(x, parts)[i], words(z, parts)[i]};
    }

    __device__ __forceinline__ void store(Index i, const Input& in, const Entry* entries) const {
        const Lanes xs = lanes<SCALAR>(in.x), zs = lanes<SCALAR>(in.z);
        Lanes out;
#pragma unroll
        for (int k = 0; k < Lanes::LANES; ++k) {
            out.lane[k] = (*this)(xs.lane[k], zs.lane[k], entries);
        }
        vectors(y, parts)[i] = out;
    }

    __device__ __forceinline__ void single(Index i, const Entry* entries) const {
        y[i] = (*this)(x[i], z[i], entries);
    }
};

extern "C" __global__ void product(
    const SCALAR* x, const SCALAR* z, SCALAR* y, Index count, const TABLE::Entry* entries,
    int bytes, TABLE value) {
    extern __shared__ __align__(16) unsigned char shared[];
    const Split parts = split(count, x, z, y);
    stream(count, parts, Product{x, z, y, parts, value}, [=] {
        const auto copy = copied(shared, entries, bytes);
        __syncthreads();
        return copy;
    });
}

// The table in global memory: for tables that do not fit.
extern "C" __global__ void product_uncached(
    const SCALAR* x, const SCALAR* z, SCALAR* y, Index count, const TABLE::Entry* entries, int,
    TABLE value) {
    const Split parts = split(count, x, z, y);
    stream(count, parts, Product{x, z, y, parts, value}, [=] { return entries; });
}

#ifdef SLOPE
// For y = z · f(x) and an incoming gradient g: dx = g · z · f′(x), dz = g · f(x).
struct ProductGradient {
    using Lanes = Vector<SCALAR>;
    struct Input {
        Words x, z, g;
    };
    struct Output {
        SCALAR dx, dz;
    };
    struct Entries {
        const TABLE::Entry* value;
        const SLOPE::Entry* slope;
    };

    const SCALAR *x, *z, *g;
    SCALAR *dx, *dz;
    Split parts;
    TABLE value;
    SLOPE slope;

    __device__ __forceinline__ Output operator()(
        SCALAR x, SCALAR z, SCALAR g, const Entries& entries) const {
        const auto gradient = widen(g);
        Output out;
        narrow(multiply(multiply(gradient, widen(z)), slope(widen(x), entries.slope)), out.dx);
        narrow(multiply(gradient, value(widen(x), entries.value)), out.dz);
        return out;
    }

    __device__ __forceinline__ Input load(Index i) const {
        return {words(x, parts)[i], words(z, parts)[i], words(g, parts)[i]};
    }

    __device__ __forceinline__ void store(
        Index i, const Input& in, const Entries& entries) const {
        const Lanes xs = lanes<SCALAR>(in.x), zs = lanes<SCALAR>(in.z), gs = lanes<SCALAR>(in.g);
        Lanes first, second;
#pragma unroll
        for (int k = 0; k < Lanes::LANES; ++k) {
            const Output out = (*this)(xs.lane[k], zs.lane[k], gs.lane[k], entries);
            first.lane[k] = out.dx;
            second.lane[k] = out.dz;
        }
        vectors(dx, parts)[i] = first;
        vectors(dz, parts)[i] = second;
    }

    __device__ __forceinline__ void single(Index i, const Entries& entries) const {
        const Output out = (*this)(x[i], z[i], g[i], entries);
        dx[i] = out.dx;
        dz[i] = out.dz;
    }
};

// Launch with the bytes of both tables, those of the first rounded up to a multiple of 16.
extern "C" __global__ void product_gradient(
    const SCALAR* x, const SCALAR* z, const SCALAR* g, SCALAR* dx, SCALAR* dz, Index count,
    const TABLE::Entry* value_entries, int value_bytes, TABLE value,
    const SLOPE::Entry* slope_entries, int slope_bytes, SLOPE slope) {
    extern __shared__ __align__(16) unsigned char shared[];
    const Split parts = split(count, x, z, g, dx, dz);
    stream(count, parts, ProductGradient{x, z, g, dx, dz, parts, value, slope}, [=] {
        const ProductGradient::Entries copies = {
            copied(shared, value_entries, value_bytes),
            copied(shared + (value_bytes + 15) / 16 * 16, slope_entries, slope_bytes)};
        __syncthreads();
        return copies;
    });
}

extern "C" __global__ void product_gradient_uncached(
    const SCALAR* x, const SCALAR* z, const SCALAR* g, SCALAR* dx, SCALAR* dz, Index count,
    const TABLE::Entry* value_entries, int, TABLE value, const SLOPE::Entry* slope_entries, int,
    SLOPE slope) {
    const Split parts = split(count, x, z, g, dx, dz);
    stream(count, parts, ProductGradient{x, z, g, dx, dz, parts, value, slope},
           [=] { return ProductGradient::Entries{value_entries, slope_entries}; });
}
#endif
