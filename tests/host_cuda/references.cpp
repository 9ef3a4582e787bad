// The functions and their derivatives in double precision, by the C library: the oracle of
// exhaustive.cpp, compiled once for all that it is compared with. Each keeps its relative accuracy
// where it fades out.
#include "references.h"

#include <cmath>
#include <cstring>

namespace {

constexpr double SQRT_HALF = 0.70710678118654752440, SQRT_8_OVER_PI = 1.5957691216057308;
constexpr double SQRT_2_PI = 2.5066282746310002;
constexpr double MU = 0.707107, SIGMA = 0.282095;
constexpr double SELU_ALPHA = 1.6732632423543772, SELU_SCALE = 1.0507009873554805;
constexpr double XIELU_P = 0.8, XIELU_N = 0.8, XIELU_BETA = 0.5;

double cdf(double x) { return 0.5 * std::erfc(-SQRT_HALF * x); }
double density(double x) { return std::exp(-0.5 * x * x) / SQRT_2_PI; }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double sigmoid_derivative(double x) {
    const double e = std::exp(-std::fabs(x));
    return e / ((1 + e) * (1 + e));
}
// The derivative of x·σ(z) where slope = dz/dx.
double gated(double x, double z, double slope) {
    return sigmoid(z) * (1 + x * slope * sigmoid(-z));
}
// The second one, where bend = d²z/dx².
double gated_curvature(double x, double z, double slope, double bend) {
    return sigmoid_derivative(z) * (2 * slope + x * (bend - std::tanh(z / 2) * slope * slope));
}
double gelu(double x) { return x * cdf(x); }
double gelu_derivative(double x) { return cdf(x) + x * density(x); }
double gelu_second_derivative(double x) { return density(x) * (2 - x * x); }
double cubic(double x) { return SQRT_8_OVER_PI * x * (1 + 0.044715 * x * x); }
double mish_gate(double x) {  // tanh(log(1 + eˣ)) with n = e²ˣ + 2eˣ is n/(n + 2)
    const double e = std::exp(-std::fabs(x));
    return x < 0 ? e * (e + 2) / (e * (e + 2) + 2) : (1 + 2 * e) / (1 + 2 * e + 2 * e * e);
}
double mish_derivative(double x) {
    const double gate = mish_gate(x);
    return gate + x * (1 - gate * gate) * sigmoid(x);
}
double mish_second_derivative(double x) {
    const double e = std::exp(-std::fabs(x)), gate = mish_gate(x);
    // 1 − gate² is sech²(log(1 + eˣ)), with n = eˣ the square of 2·(1 + n)/((1 + n)² + 1).
    const double sech = x < 0 ? 2 * (1 + e) / (2 + e * (2 + e))
                              : 2 * e * (1 + e) / (1 + 2 * e * (1 + e));
    return sech * sech * sigmoid(x) * (2 + x * (sigmoid(-x) - 2 * gate * sigmoid(x)));
}
double sigmoid_second_derivative(double x) {
    return -std::tanh(x / 2) * sigmoid_derivative(x);
}
double elu(double x, double alpha) { return x > 0 ? x : alpha * std::expm1(x); }
double elu_derivative(double x, double alpha) { return x > 0 ? 1 : alpha * std::exp(x); }
double elu_second_derivative(double x, double alpha) {
    return x > 0 ? 0 : alpha * std::exp(x);
}
double xielu(double x) {
    const double curved = x > 0 ? XIELU_P * x * x : XIELU_N * (std::expm1(x) - x);
    return XIELU_BETA * x + curved;
}
double xielu_derivative(double x) {
    return XIELU_BETA + (x > 0 ? 2 * XIELU_P * x : XIELU_N * std::expm1(x));
}

struct Named {
    const char* name;
    reference::Function function;
};

const Named FUNCTIONS[] = {
    {"gelu", gelu},
    {"gelu_derivative", gelu_derivative},
    {"gelu_second_derivative", gelu_second_derivative},
    {"gelu_tanh", [](double x) { return x * sigmoid(cubic(x)); }},
    {"gelu_tanh_derivative",
     [](double x) {
         return gated(x, cubic(x), SQRT_8_OVER_PI * (1 + 3 * 0.044715 * x * x));
     }},
    {"gelu_tanh_second_derivative",
     [](double x) {
         const double slope = SQRT_8_OVER_PI * (1 + 3 * 0.044715 * x * x);
         return gated_curvature(x, cubic(x), slope, SQRT_8_OVER_PI * 6 * 0.044715 * x);
     }},
    {"silu", [](double x) { return x * sigmoid(x); }},
    {"silu_derivative", [](double x) { return gated(x, x, 1); }},
    {"silu_second_derivative", [](double x) { return gated_curvature(x, x, 1, 0); }},
    {"quick_gelu", [](double x) { return x * sigmoid(1.702 * x); }},
    {"quick_gelu_derivative", [](double x) { return gated(x, 1.702 * x, 1.702); }},
    {"quick_gelu_second_derivative",
     [](double x) { return gated_curvature(x, 1.702 * x, 1.702, 0); }},
    {"mish", [](double x) { return x * mish_gate(x); }},
    {"mish_derivative", mish_derivative},
    {"mish_second_derivative", mish_second_derivative},
    {"softplus",
     [](double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }},
    {"softplus_derivative", sigmoid},
    {"softplus_second_derivative", sigmoid_derivative},
    {"sigmoid", sigmoid},
    {"sigmoid_derivative", sigmoid_derivative},
    {"sigmoid_second_derivative", sigmoid_second_derivative},
    {"tanh", [](double x) { return std::tanh(x); }},
    {"tanh_derivative", [](double x) { return 4 * sigmoid_derivative(2 * x); }},
    {"tanh_second_derivative", [](double x) { return 8 * sigmoid_second_derivative(2 * x); }},
    {"hardswish", [](double x) { return x * std::fmin(std::fmax(x + 3, 0.0), 6.0) / 6; }},
    {"hardswish_derivative",
     [](double x) { return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6; }},
    {"hardswish_second_derivative", [](double x) { return std::fabs(x) < 3 ? 1.0 / 3 : 0; }},
    {"laplace", [](double x) { return cdf((x - MU) / SIGMA); }},
    {"laplace_derivative", [](double x) { return density((x - MU) / SIGMA) / SIGMA; }},
    {"laplace_second_derivative",
     [](double x) { return (MU - x) / (SIGMA * SIGMA * SIGMA) * density((x - MU) / SIGMA); }},
    {"gelu_10", [](double x) { return std::fmin(gelu(x), 10.0); }},
    {"gelu_10_derivative", [](double x) { return gelu(x) > 10 ? 0 : gelu_derivative(x); }},
    {"gelu_10_second_derivative",
     [](double x) { return gelu(x) > 10 ? 0 : gelu_second_derivative(x); }},
    {"selu", [](double x) { return SELU_SCALE * elu(x, SELU_ALPHA); }},
    {"selu_derivative", [](double x) { return SELU_SCALE * elu_derivative(x, SELU_ALPHA); }},
    {"selu_second_derivative",
     [](double x) { return SELU_SCALE * elu_second_derivative(x, SELU_ALPHA); }},
    {"elu", [](double x) { return elu(x, 1); }},
    {"elu_derivative", [](double x) { return elu_derivative(x, 1); }},
    {"elu_second_derivative", [](double x) { return elu_second_derivative(x, 1); }},
    {"relu2", [](double x) { return x < 0 ? 0 : x * x; }},
    {"relu2_derivative", [](double x) { return x < 0 ? 0 : 2 * x; }},
    {"relu2_second_derivative", [](double x) { return x > 0 ? 2.0 : 0; }},
    {"xielu", xielu},
    {"xielu_derivative", xielu_derivative},
    {"xielu_second_derivative",
     [](double x) { return x > 0 ? 2 * XIELU_P : XIELU_N * std::exp(x); }},
    {"leaky_relu", [](double x) { return x < 0 ? 0.01 * x : x; }},
    {"leaky_relu_derivative", [](double x) { return x > 0 ? 1 : 0.01; }},
    {"leaky_relu_second_derivative", [](double) { return 0.0; }},
};

}  // namespace

reference::Function reference::find(const char* name) {
    for (const Named& each : FUNCTIONS) {
        if (!std::strcmp(each.name, name)) return each.function;
    }
    return nullptr;
}
