// formula NAME COUNT GRID BLOCK X_OFFSET Y_OFFSET GATED
//
// Reads COUNT inputs from standard input (GATED: and as many factors) and writes the results of
// kernels/formula.cu to standard output. Arrays start the given number of elements behind a 16-byte
// boundary. Exits with 3 if memory beside them was written, with 4 for an unknown NAME.
#include "host.h"

#include <map>
#include <string>

inline float (*chosen)(float);
#define FORMULA chosen

// The approximations, as wrong as the PTX manual lets them be; which way, a bit of x decides.
inline float off_by(double error, double y, float x) {
    return float(y * (1 + (low_word(x) & 1 ? error : -error)));
}
inline float rough_tanh(float x) { return off_by(0x1p-11, std::tanh(double(x)), x); }
inline float rough_exp2(float x) { return off_by(0x1p-22, std::exp2(double(x)), x); }
inline float rough_reciprocal(float x) { return off_by(0x1p-23, 1 / double(x), x); }
inline float rough_log2(float x) {
    const double y = std::log2(double(x));
    return std::fabs(y) < 1 ? float(y + (low_word(x) & 1 ? 0x1p-22 : -0x1p-22))
                            : off_by(0x1p-22, y, x);
}

#include "formula.cu"

int main(int, char** argv) {
    const std::map<std::string, float (*)(float)> formulas = {
        {"identity", identity},
        {"accurate::gelu", accurate::gelu},
        {"accurate::gelu_tanh", accurate::gelu_tanh},
        {"accurate::silu", accurate::silu},
        {"accurate::mish", accurate::mish},
        {"accurate::softplus", accurate::softplus},
        {"fast::gelu", fast::gelu},
        {"fast::gelu_tanh", fast::gelu_tanh},
        {"fast::silu", fast::silu},
        {"fast::mish", fast::mish},
        {"fast::softplus", fast::softplus},
    };
    if (!formulas.count(argv[1])) return 4;
    chosen = formulas.at(argv[1]);
    long long a[6];
    for (int i = 0; i < 6; ++i) a[i] = std::atoll(argv[i + 2]);
    const auto [count, grid, block, x_offset, y_offset, gated] = a;

    Buffer<SCALAR> x(count, x_offset), z(gated ? count : 0, x_offset), y(count, y_offset);
    receive(x.data(), x.bytes());
    receive(z.data(), z.bytes());
    const SCALAR *from = x.data(), *factors = z.data();
    const float* no_entries = nullptr;
    if (gated) {
        launch(product, grid, block, 0, from, factors, y.data(), count, no_entries, 0, Formula{});
    } else {
        launch(elementwise, grid, block, 0, from, y.data(), count, no_entries, 0, Formula{});
    }

    send(y.data(), y.bytes());
    return x.guards_intact() && y.guards_intact() && z.guards_intact() ? 0 : 3;
}
