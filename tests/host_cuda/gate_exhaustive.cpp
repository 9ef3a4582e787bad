// gate_exhaustive FUNCTION LENGTH STRIDE [FROM TO]...
//
// Reads a GateTable and LENGTH entries from standard input, then compares kernels/gate.cuh with the
// double-precision function at both signs of the float32 magnitudes with bit patterns 0, STRIDE,
// 2·STRIDE, ... and of all those in [FROM, TO). Prints for the finite ones
//   worst error in ulp, its input, results off by more than 1/2 ulp, by more than 1, inputs tried
// and exits with 1 if a sign of zero, an infinity or a NaN is wrong.
#include "gate.cuh"

#include <algorithm>
#include <string>
#include <thread>

namespace {

constexpr std::uint32_t INFINITE = 0x7f800000;

// q(a) = f(−a)/(−a)
double gelu(double a) { return 0.5 * std::erfc(a * 0.70710678118654752440); }
double gelu_tanh(double a) {
    return 1 / (1 + std::exp(1.5957691216057308 * a * (1 + 0.044715 * a * a)));
}
double silu(double a) { return 1 / (1 + std::exp(a)); }
double quick_gelu(double a) { return 1 / (1 + std::exp(1.702 * a)); }

// The distance between float32 neighbours at y.
double ulp(double y) {
    const int exponent = int(bits_as<std::uint64_t>(y) >> 52 & 2047) - 1023;
    return bits_as<double>(std::uint64_t(std::clamp(exponent, -126, 127) - 23 + 1023) << 52);
}

struct Result {
    double worst = 0;
    float at = 0;
    long long above_half = 0, above_one = 0, tried = 0;

    void add(float x, double error) {
        if (!(error <= worst)) worst = error, at = x;
        above_half += error > 0.5;
        above_one += !(error <= 1);
        ++tried;
    }
    void add(const Result& other) {
        if (!(other.worst <= worst)) worst = other.worst, at = other.at;
        above_half += other.above_half;
        above_one += other.above_one;
        tried += other.tried;
    }
};

template <double gate(double), typename Table>
Result check(const Table& table, const Quintic* entries, std::uint64_t from, std::uint64_t to,
             std::uint64_t stride) {
    Result result;
    for (std::uint64_t bits = from; bits < to; bits += stride) {
        const float a = bits_as<float>(std::uint32_t(bits));
        const double product = a * gate(a);
        for (const float x : {a, -a}) {
            const double exact = x < 0 ? -product : x - product;
            result.add(x, std::fabs(table(x, entries) - exact) / ulp(exact));
        }
    }
    return result;
}

template <typename Table>
bool special_values_right(const Table& table, const Quintic* entries) {
    const float infinity = bits_as<float>(INFINITE);
    const auto bits = [&](float x) { return bits_as<std::uint32_t>(table(x, entries)); };
    bool right = bits(0.0f) == 0 && bits(-0.0f) == 0x80000000 && bits(infinity) == INFINITE &&
                 bits(-infinity) == 0x80000000;
    for (const std::uint32_t nan : {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xffffffffu}) {
        right &= std::isnan(table(bits_as<float>(nan), entries));
    }
    return right;
}

template <double gate(double), typename Table>
int compare(int count, char** argument) {
    std::vector<Quintic> entries(std::atoi(argument[2]));
    const std::uint64_t stride = std::atoi(argument[3]);
    Table table;
    receive(&table, sizeof table);
    receive(entries.data(), entries.size() * sizeof(Quintic));

    std::vector<Result> parts(2);
    {
        // The two threads take turns, since erfc costs more for some inputs than for others.
        const std::uint64_t block = stride << 16;
        const auto take_turns = [&](std::uint64_t thread) {
            for (std::uint64_t from = thread * block; from < INFINITE; from += 2 * block) {
                const std::uint64_t to = std::min<std::uint64_t>(from + block, INFINITE);
                parts[thread].add(check<gate>(table, entries.data(), from, to, stride));
            }
        };
        std::jthread first(take_turns, 0), second(take_turns, 1);
    }
    for (int i = 4; i + 1 < count; i += 2) {
        parts[0].add(check<gate>(table, entries.data(), std::strtoul(argument[i], nullptr, 10),
                                 std::strtoul(argument[i + 1], nullptr, 10), 1));
    }
    Result result;
    for (const Result& part : parts) result.add(part);
    std::printf("%.6f %.9g %lld %lld %lld\n", result.worst, result.at, result.above_half,
                result.above_one, result.tried);
    return special_values_right(table, entries.data()) ? 0 : 1;
}

}  // namespace

int main(int count, char** argument) {
    const std::string function = argument[1];
    if (function == "silu") return compare<silu, GateTable<true>>(count, argument);
    if (function == "quick_gelu") return compare<quick_gelu, GateTable<true>>(count, argument);
    if (function == "gelu") return compare<gelu, GateTable<false>>(count, argument);
    return compare<gelu_tanh, GateTable<false>>(count, argument);
}
