// gated COUNT VALUE_LENGTH SLOPE_LENGTH GRID BLOCK INPUT_OFFSET OUTPUT_OFFSET WIDTH
//
// Reads from standard input a TABLE and its entries, with SLOPE_LENGTH > 0 a SLOPE and its entries,
// and COUNT elements of x, of z and for the gradient of g; writes what kernels/gated.cu makes of
// them to standard output: y, or dx and dz. Arrays start the given number of elements behind a
// 16-byte boundary; OUTPUT_OFFSET −1 works in place, y and dx in x, dz in z. Exits with 3 if memory
// beside them was written.
//
// With a WIDTH other than 0, x and z are the halves of the rows of one array, of so many elements
// each, z the first where it is negative; so are dx and dz. A Rows of that width is read before it.
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
    const auto [count, length, slope_length, grid, block, offset, output_offset, width] = a;

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
    Halves place;
    if (width) receive(&place, sizeof place);
    Buffer<SCALAR> first(width ? 2 * count : count, offset), second(width ? 0 : count, offset);
    Buffer<SCALAR> g(slope_length ? count : 0, offset);
    for (auto* input : {&first, &second, &g}) fill(*input);

    const bool in_place = output_offset < 0;
    const std::size_t to = in_place ? 0 : output_offset;
    Buffer<SCALAR> first_out(width && slope_length ? 2 * count : count, to),
        second_out(width ? 0 : count, to);
    auto& out = in_place ? first : first_out;
    auto& other = in_place ? second : second_out;

    // The two of a pair of buffers, or of a packed one.
    const auto z_of = [&](auto& one, auto& two) {
        return !width ? two.data() : one.data() + (width > 0 ? width : 0);
    };
    SCALAR *x = first.data() + (width < 0 ? -width : 0), *z = z_of(first, second);
    SCALAR *dx = out.data() + (width < 0 ? -width : 0), *dz = z_of(out, other);

    const std::size_t shared_bytes =
        !IN_SHARED     ? 0
        : slope_length ? padded(entries.bytes()) + slope_entries.bytes()
                       : entries.bytes();
    const int bytes = entries.bytes(), slope_bytes = slope_entries.bytes();
    const auto start = [&](auto kernel, auto... arguments) {
        launch(kernel, grid, block, shared_bytes, arguments...);
    };
    if (slope_length && width) {
        start(packed_product_gradient, x, z, g.data(), dx, dz, place, count, entries.data(), bytes,
              value, slope_entries.data(), slope_bytes, slope);
    } else if (slope_length) {
        start(product_gradient, x, z, g.data(), dx, dz, count, entries.data(), bytes, value,
              slope_entries.data(), slope_bytes, slope);
    } else if (width) {
        start(packed_product, x, z, out.data(), place, count, entries.data(), bytes, value);
    } else {
        start(product, x, z, out.data(), count, entries.data(), bytes, value);
    }
    send(out.data(), out.bytes());
    if (slope_length) send(other.data(), other.bytes());
    for (auto* buffer : {&first, &second, &g, &first_out, &second_out}) {
        if (!buffer->guards_intact()) return 3;
    }
    return entries.guards_intact() && slope_entries.guards_intact() ? 0 : 3;
}
