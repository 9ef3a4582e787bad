// y = z · table(x) over arrays, and the gradient of that; x and z are arrays of their own, or packed
// in one array as the halves of its rows.
//
// Compiled once per storage type and kinds of table:
//   SCALAR  float, double, Float16 or BFloat16: what the arrays hold
//   TABLE   the lookup of f, Real operator()(Real, const Entry*), where Real is float, or double for
//           double: results are rounded to SCALAR once, after the products; or if it is one that
//           TakesPairs, Results operator()(Pair<SCALAR>, const Entry*)
//   SLOPE   that of f′, for the gradient; without it there is only `product`
//
// Preconditions: arrays are aligned to SCALAR; an output is the same memory as an input or does not
// overlap it; the tables' entries are aligned to 16 bytes and an even number of bytes.
#include "gate.cuh"
#include "linear.cuh"
#include "lookup.cuh"
#include "polynomial.cuh"
#include "rows.cuh"
#include "unrounded.cuh"

using Lanes = Vector<SCALAR>;

// Where the operands of element i lie, and those of vector i: at the same number …
struct Apart {
    __device__ __forceinline__ Index element(Index i) const { return i; }
    __device__ __forceinline__ Index vector(Index i) const { return i; }
};

// … or in one half of the rows of a packed array, where the other half of a row lies between.
struct Halves {
    Rows rows;  // as wide as a half

    __device__ __forceinline__ unsigned element(unsigned i) const {
        return i + rows.row(i) * rows.width;
    }
    __device__ __forceinline__ unsigned vector(unsigned i) const {
        constexpr unsigned LANES = Vector<SCALAR>::LANES;
        return i + rows.row(i * LANES) * (rows.width / LANES);
    }
};

// z · f(x); with f′ in place of f, the gradient of f for an incoming gradient z.
template <typename Place>
struct Product {
    static constexpr int INPUTS = 2;
    using Entry = TABLE::Entry;
    struct Input {
        Words x, z;
    };

    const SCALAR *x, *z;
    SCALAR* y;
    Split parts;
    TABLE value;
    Place place;

    __device__ __forceinline__ Input load(Index i, int ahead) const {
        const auto at = place.vector(i + ahead);
        return {words(x, parts)[at], words(z, parts)[at]};
    }

    __device__ __forceinline__ void store(
        Index i, int ahead, const Input& in, const Entry* entries) const {
        const Lanes zs = lanes<SCALAR>(in.z);
        Reals<SCALAR> out = looked_up<SCALAR>(value, in.x, entries);
#pragma unroll
        for (int k = 0; k < Lanes::LANES; ++k) out.lane[k] = multiply(out.lane[k], widen(zs.lane[k]));
        words(y, parts)[i + ahead] = narrowed(out);
    }

    __device__ __forceinline__ void single(Index i, const Entry* entries) const {
        const auto at = place.element(i);
        narrow(multiply(looked_up(value, x[at], entries), widen(z[at])), y[i]);
    }
};

extern "C" __global__ void product(
    const SCALAR* x, const SCALAR* z, SCALAR* y, Index count, const TABLE::Entry* entries,
    int bytes, TABLE value) {
    const Split parts = split(count, x, z, y);
    stream(count, parts, Product<Apart>{x, z, y, parts, value, {}},
           [=] { return only_table(entries, bytes); });
}

// x and z point to the two halves of the first row of a packed array, in either order.
extern "C" __global__ void packed_product(
    const SCALAR* x, const SCALAR* z, SCALAR* y, Halves place, Index count,
    const TABLE::Entry* entries, int bytes, TABLE value) {
    const Split parts = split_rows(count, place.rows, x, z, y);
    stream(count, parts, Product<Halves>{x, z, y, parts, value, place},
           [=] { return only_table(entries, bytes); });
}

#ifdef SLOPE
struct Entries {
    const TABLE::Entry* value;
    const SLOPE::Entry* slope;
};

// For y = z · f(x) and an incoming gradient g: dx = g · z · f′(x), dz = g · f(x).
template <typename Place>
struct ProductGradient {
    static constexpr int INPUTS = 3;
    struct Input {
        Words x, z, g;
    };

    const SCALAR *x, *z, *g;
    SCALAR *dx, *dz;
    Split parts;
    TABLE value;
    SLOPE slope;
    Place place;

    __device__ __forceinline__ Input load(Index i, int ahead) const {
        const auto at = place.vector(i + ahead);
        return {words(x, parts)[at], words(z, parts)[at], words(g, parts)[i + ahead]};
    }

    __device__ __forceinline__ void store(
        Index i, int ahead, const Input& in, const Entries& entries) const {
        const Lanes zs = lanes<SCALAR>(in.z), gs = lanes<SCALAR>(in.g);
        Reals<SCALAR> by_x = looked_up<SCALAR>(slope, in.x, entries.slope);
        Reals<SCALAR> by_z = looked_up<SCALAR>(value, in.x, entries.value);
#pragma unroll
        for (int k = 0; k < Lanes::LANES; ++k) {
            const auto gradient = widen(gs.lane[k]);
            by_x.lane[k] = multiply(multiply(gradient, widen(zs.lane[k])), by_x.lane[k]);
            by_z.lane[k] = multiply(gradient, by_z.lane[k]);
        }
        const auto at = place.vector(i + ahead);
        words(dx, parts)[at] = narrowed(by_x);
        words(dz, parts)[at] = narrowed(by_z);
    }

    __device__ __forceinline__ void single(Index i, const Entries& entries) const {
        const auto at = place.element(i);
        const SCALAR x = this->x[at];
        const auto gradient = widen(g[i]), product = multiply(gradient, widen(z[at]));
        narrow(multiply(product, looked_up(slope, x, entries.slope)), dx[at]);
        narrow(multiply(gradient, looked_up(value, x, entries.value)), dz[at]);
    }
};

// Runs a body with two tables: launched with the bytes of both, those of the first rounded up to a
// multiple of 16.
template <typename Body>
__device__ __forceinline__ void run(
    Index count, const Body& body, const Entries& entries, int value_bytes, int slope_bytes) {
    extern __shared__ __align__(16) unsigned char shared[];
    stream(count, body.parts, body, [=] {
        unsigned char* behind = shared + (value_bytes + 15) / 16 * 16;
        const Entries found = {placed(shared, entries.value, value_bytes),
                               placed(behind, entries.slope, slope_bytes)};
        ready();
        return found;
    });
}

extern "C" __global__ void product_gradient(
    const SCALAR* x, const SCALAR* z, const SCALAR* g, SCALAR* dx, SCALAR* dz, Index count,
    const TABLE::Entry* value_entries, int value_bytes, TABLE value,
    const SLOPE::Entry* slope_entries, int slope_bytes, SLOPE slope) {
    const Split parts = split(count, x, z, g, dx, dz);
    run(count, ProductGradient<Apart>{x, z, g, dx, dz, parts, value, slope, {}},
        {value_entries, slope_entries}, value_bytes, slope_bytes);
}

// dx and dz point to the two halves of the first row of an array packed like that of x and z.
extern "C" __global__ void packed_product_gradient(
    const SCALAR* x, const SCALAR* z, const SCALAR* g, SCALAR* dx, SCALAR* dz, Halves place,
    Index count, const TABLE::Entry* value_entries, int value_bytes, TABLE value,
    const SLOPE::Entry* slope_entries, int slope_bytes, SLOPE slope) {
    const Split parts = split_rows(count, place.rows, x, z, g, dx, dz);
    run(count, ProductGradient<Halves>{x, z, g, dx, dz, parts, value, slope, place},
        {value_entries, slope_entries}, value_bytes, slope_bytes);
}
#endif
