// y = residual + scale · factor · table(x + bias) over arrays.
//
// Compiled once per storage type, kind of table and set of operands:
//   SCALAR, TABLE     as for gated.cu: all is computed in Real, and rounded to SCALAR once; with a
//                     bias no table that TakesPairs
//   BIAS, SCALE       true where there is such an operand, with an element for each column
//   NUMBER            true where one number scales all
//   FACTOR, RESIDUAL  true where there is such an operand, of x's shape
// What is not there is never read and costs no instruction.
//
// Preconditions: arrays are aligned to SCALAR; y is the same memory as x, factor or residual, or does
// not overlap them; with a bias or scale the others are in C order and have fewer than 2³¹ elements;
// the table's entries are aligned to 16 bytes and an even number of bytes.
#include "gate.cuh"
#include "linear.cuh"
#include "lookup.cuh"
#include "polynomial.cuh"
#include "rows.cuh"
#include "unrounded.cuh"

#ifndef BIAS
#define BIAS false
#endif
#ifndef FACTOR
#define FACTOR false
#endif
#ifndef SCALE
#define SCALE false
#endif
#ifndef NUMBER
#define NUMBER false
#endif
#ifndef RESIDUAL
#define RESIDUAL false
#endif

constexpr bool COLUMNS = BIAS || SCALE;

using Entry = TABLE::Entry;

template <typename Table>
struct Fused {
    static constexpr int INPUTS = 1 + FACTOR + RESIDUAL;  // a bias and scale come from the cache
    using Lanes = Vector<SCALAR>;
    struct Input {
        Words x, bias, factor, scale, residual;
    };

    const SCALAR *x, *bias, *factor, *scale, *residual;
    SCALAR* y;
    Real<SCALAR> number;
    Rows rows;
    Split parts;
    Table table;

    // f(x + bias), and the result that becomes of it.
    __device__ __forceinline__ Real<SCALAR> value(
        SCALAR x, SCALAR bias, const Entry* entries) const {
        if constexpr (BIAS) {
            return table(add(widen(x), widen(bias)), entries);
        } else {
            return looked_up(table, x, entries);
        }
    }

    __device__ __forceinline__ Reals<SCALAR> value(
        Words x, Words bias, const Entry* entries) const {
        if constexpr (BIAS) {
            const Lanes xs = lanes<SCALAR>(x), biases = lanes<SCALAR>(bias);
            Reals<SCALAR> y;
#pragma unroll
            for (int k = 0; k < Lanes::LANES; ++k) {
                y.lane[k] = value(xs.lane[k], biases.lane[k], entries);
            }
            return y;
        } else {
            return looked_up<SCALAR>(table, x, entries);
        }
    }

    __device__ __forceinline__ Real<SCALAR> result(
        Real<SCALAR> value, SCALAR factor, SCALAR scale, SCALAR residual) const {
        if constexpr (FACTOR) value = multiply(value, widen(factor));
        if constexpr (SCALE) value = multiply(value, widen(scale));
        if constexpr (NUMBER) value = multiply(value, number);
        if constexpr (RESIDUAL) value = add(value, widen(residual));
        return value;
    }

    __device__ __forceinline__ Input load(Index i, int ahead) const {
        i += ahead;
        Input in = {};
        in.x = words(x, parts)[i];
        if constexpr (FACTOR) in.factor = words(factor, parts)[i];
        if constexpr (RESIDUAL) in.residual = words(residual, parts)[i];
        if constexpr (COLUMNS) {
            const unsigned row = rows.row(static_cast<unsigned>(i) * Lanes::LANES);
            const unsigned column = static_cast<unsigned>(i) - row * (rows.width / Lanes::LANES);
            if constexpr (BIAS) in.bias = words(bias, parts)[column];
            if constexpr (SCALE) in.scale = words(scale, parts)[column];
        }
        return in;
    }

    __device__ __forceinline__ void store(
        Index i, int ahead, const Input& in, const Entry* entries) const {
        const Lanes factors = lanes<SCALAR>(in.factor), scales = lanes<SCALAR>(in.scale),
                    residuals = lanes<SCALAR>(in.residual);
        Reals<SCALAR> out = value(in.x, in.bias, entries);
#pragma unroll
        for (int k = 0; k < Lanes::LANES; ++k) {
            out.lane[k] =
                result(out.lane[k], factors.lane[k], scales.lane[k], residuals.lane[k]);
        }
        words(y, parts)[i + ahead] = narrowed(out);
    }

    __device__ __forceinline__ void single(Index i, const Entry* entries) const {
        unsigned column = 0;
        if constexpr (COLUMNS) column = static_cast<unsigned>(i) - rows.row(i) * rows.width;
        const SCALAR none = {};
        const auto f = value(x[i], BIAS ? bias[column] : none, entries);
        narrow(result(f, FACTOR ? factor[i] : none, SCALE ? scale[column] : none,
                      RESIDUAL ? residual[i] : none),
               y[i]);
    }
};

extern "C" __global__ void fused_activation(
    const SCALAR* x, const SCALAR* bias, const SCALAR* factor, const SCALAR* scale,
    const SCALAR* residual, SCALAR* y, Real<SCALAR> number, Rows rows, Index count,
    const Entry* entries, int bytes, TABLE table) {
    // What is not there lies as x does.
    const SCALAR *f = FACTOR ? factor : x, *r = RESIDUAL ? residual : x;
    Split parts;
    if constexpr (COLUMNS) {
        parts = split_rows(count, rows, x, BIAS ? bias : x, f, SCALE ? scale : x, r, y);
    } else {
        parts = split(count, x, f, r, y);
    }
    stream(count, parts,
           Fused<TABLE>{x, bias, factor, scale, residual, y, number, rows, parts, table},
           [=] { return only_table(entries, bytes); });
}
