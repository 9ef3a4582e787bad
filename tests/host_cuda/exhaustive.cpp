// exhaustive FUNCTION LENGTH STRIDE FLOOR JUMP [FROM TO]...
//
// Reads a TABLE, which it is compiled for, and LENGTH entries from standard input, then compares its
// lookup with the function in double precision at both signs of the float32 magnitudes with bit patterns 0,
// STRIDE, 2·STRIDE, ... and of all those in [FROM, TO). Prints for the finite ones
//   worst error in ulp, its input, results off by more than 1/2 ulp, by more than 1, inputs tried
// with FLOOR for ulp where that is larger, and without magnitudes within 1e-6 of a JUMP other than 0.
// Behind it are the bits of the results for ±0 and ±∞, and how many of four NaNs stay NaN.
#include "gate.cuh"
#include "polynomial.cuh"
#include "references.h"

#include <pthread.h>

namespace {

constexpr std::uint32_t INFINITE = 0x7f800000;
constexpr double INFINITE_IS = 0x1p128;  // the number after the largest

struct Arguments {
    reference::Function function;
    int length;
    std::uint64_t stride;
    double floor, jump;
    std::vector<std::uint64_t> ranges;
};

// NaN stays.
double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// The distance between float32 neighbours at y.
double ulp(double y) {
    const int exponent = int(bits_as<std::uint64_t>(y) >> 52 & 2047) - 1023;
    return bits_as<double>(std::uint64_t(max(min(exponent, 127), -126) - 23 + 1023) << 52);
}

struct Result {
    double worst = 0;
    float at = 0;
    long long above_half = 0, above_one = 0, tried = 0;

    void add(float x, double error) {
        if (std::isnan(error)) error = INFINITY;  // which nothing replaces
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

template <typename Table>
Result check(const Table& table, const typename Table::Entry* entries, const Arguments& given,
             std::uint64_t from, std::uint64_t to, std::uint64_t stride) {
    Result result;
    for (std::uint64_t bits = from; bits < to; bits += stride) {
        const float a = bits_as<float>(std::uint32_t(bits));
        if (given.jump != 0 && std::fabs(a - given.jump) < 1e-6) continue;
        for (const float x : {a, -a}) {
            const double exact = clamp(given.function(x), -INFINITE_IS, INFINITE_IS);
            const double y = clamp(table(x, entries), -INFINITE_IS, INFINITE_IS);
            result.add(x, std::fabs(y - exact) / std::fmax(ulp(exact), given.floor));
        }
    }
    return result;
}

// Calls work(0) and work(1) at the same time.
template <typename Work>
void in_two_threads(const Work& work) {
    const auto second = [](void* given) -> void* {
        (*static_cast<const Work*>(given))(1);
        return nullptr;
    };
    pthread_t other;
    if (pthread_create(&other, nullptr, second, const_cast<Work*>(&work))) std::abort();
    work(0);
    pthread_join(other, nullptr);
}

template <typename Table>
void compare(const Arguments& given) {
    std::vector<typename Table::Entry> entries(given.length);
    Table table;
    receive(&table, sizeof table);
    receive(entries.data(), entries.size() * sizeof(typename Table::Entry));

    // The two threads take turns, since a function costs more for some inputs than for others.
    std::vector<Result> parts(2);
    const std::uint64_t block = given.stride << 16;
    in_two_threads([&](std::uint64_t thread) {
        for (std::uint64_t from = thread * block; from < INFINITE; from += 2 * block) {
            const std::uint64_t to = std::min<std::uint64_t>(from + block, INFINITE);
            parts[thread].add(check(table, entries.data(), given, from, to, given.stride));
        }
    });
    for (std::size_t i = 0; i + 1 < given.ranges.size(); i += 2) {
        parts[0].add(check(table, entries.data(), given, given.ranges[i], given.ranges[i + 1], 1));
    }
    Result result;
    for (const Result& part : parts) result.add(part);
    std::printf("%.6f %.9g %lld %lld %lld", result.worst, result.at, result.above_half,
                result.above_one, result.tried);

    const auto lookup = [&](std::uint32_t x) { return table(bits_as<float>(x), entries.data()); };
    for (const std::uint32_t x : {0u, 0x80000000u, INFINITE, 0x80000000u | INFINITE}) {
        std::printf(" %u", bits_as<std::uint32_t>(lookup(x)));
    }
    int nans = 0;
    for (const std::uint32_t x : {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xffffffffu}) {
        nans += std::isnan(lookup(x));
    }
    std::printf(" %d\n", nans);
}

}  // namespace

int main(int count, char** argument) {
    Arguments given{reference::find(argument[1]), std::atoi(argument[2]),
                    std::strtoul(argument[3], nullptr, 10), std::atof(argument[4]),
                    std::atof(argument[5]), {}};
    if (!given.function) return 2;
    for (int i = 6; i < count; ++i) given.ranges.push_back(std::strtoul(argument[i], nullptr, 10));
    compare<TABLE>(given);
}
