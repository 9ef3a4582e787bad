// gated COUNT VALUE_LENGTH SLOPE_LENGTH GRID BLOCK INPUT_OFFSET OUTPUT_OFFSET UNCACHED
//
// Reads from standard input a TABLE and its entries, with SLOPE_LENGTH > 0 a SLOPE and its entries,
// and COUNT elements of x, of z and for the gradient of g; writes what kernels/gated.cu makes of
// them to standard output: y, or dx and dz. Arrays start the given number of elements behind a
// 16-byte boundary; OUTPUT_OFFSET −1 works in place, y and dx in x, dz in z. Exits with 3 if memory
// beside them was written.
#include "gated.cu"

namespace {

template <typename T>
void fill(Buffer<T>& buffer) {
    receive(buffer.data(), buffer.bytes());
}

std::size_t padded(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

}  // namespace

int main(int, char** argv) {
    long long a[8];
    for (int i = 0; i < 8; ++i) a[i] = std::atoll(argv[i + 1]);
    const auto [count, length, slope_length, grid, block, offset, output_offset, uncached] = a;

    TABLE value;
    receive(&value, sizeof value);
    Buffer<TABLE::Entry> entries(length, 0);
    fill(entries);
    SLOPE slope;
    Buffer<SLOPE::Entry> slope_entries(slope_length, 0);
    if (slope_length) {
        receive(&slope, sizeof slope);
        fill(slope_entries);
    }
    Buffer<SCALAR> x(count, offset), z(count, offset), g(slope_length ? count : 0, offset);
    for (auto* input : {&x, &z, &g}) fill(*input);
    const bool in_place = output_offset < 0;
    const std::size_t place = in_place ? 0 : output_offset;
    Buffer<SCALAR> first(count, place), second(count, place);
    auto& y = in_place ? x : first;
    auto& dz = in_place ? z : second;

    const std::size_t shared_bytes = uncached ? 0 : entries.bytes();
    const int bytes = entries.bytes(), slope_bytes = slope_entries.bytes();
    if (slope_length) {
        launch(uncached ? product_gradient_uncached : product_gradient, grid, block,
               uncached ? 0 : padded(bytes) + slope_bytes, x.data(), z.data(), g.data(), y.data(),
               dz.data(), count, entries.data(), bytes, value, slope_entries.data(), slope_bytes,
               slope);
    } else {
        launch(uncached ? product_uncached : product, grid, block, shared_bytes, x.data(), z.data(),
               y.data(), count, entries.data(), bytes, value);
    }
    send(y.data(), y.bytes());
    if (slope_length) send(dz.data(), dz.bytes());
    for (auto* buffer : {&x, &z, &g, &first, &second}) {
        if (!buffer->guards_intact()) return 3;
    }
    return entries.guards_intact() && slope_entries.guards_intact() ? 0 : 3;
}
