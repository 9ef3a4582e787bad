// fused COUNT LENGTH GRID BLOCK INPUT_OFFSET OUTPUT_OFFSET WIDTH
//
// Reads from standard input a TABLE and its entries, a number (of the table's Real), a Rows, COUNT
// elements of x and those of the operands that the macros of kernels/fused.cu say there are: WIDTH
// of bias, COUNT of factor, WIDTH of scale, COUNT of residual. Writes what the kernel makes of them
// to standard output. Arrays start the given number of elements behind a 16-byte boundary;
// OUTPUT_OFFSET −1 works in place. Exits with 3 if memory beside them was written.
#include "fused.cu"

int main(int, char** argv) {
    long long a[7];
    for (int i = 0; i < 7; ++i) a[i] = std::atoll(argv[i + 1]);
    const auto [count, length, grid, block, offset, output_offset, width] = a;

    TABLE table;
    receive(&table, sizeof table);
    Buffer<Entry> entries(length, 0);
    receive(entries.data(), entries.bytes());
    Real<SCALAR> number;
    receive(&number, sizeof number);
    Rows rows;
    receive(&rows, sizeof rows);
    Buffer<SCALAR> x(count, offset), bias(BIAS ? width : 0, offset),
        factor(FACTOR ? count : 0, offset), scale(SCALE ? width : 0, offset),
        residual(RESIDUAL ? count : 0, offset);
    for (auto* input : {&x, &bias, &factor, &scale, &residual}) {
        receive(input->data(), input->bytes());
    }
    const bool in_place = output_offset < 0;
    Buffer<SCALAR> out(count, in_place ? 0 : output_offset);
    auto& y = in_place ? x : out;

    const auto there = [](bool is, auto& buffer) { return is ? buffer.data() : nullptr; };
    const int bytes = entries.bytes();
    launch(fused_activation, grid, block, IN_SHARED ? bytes : 0, x.data(), there(BIAS, bias), there(FACTOR, factor),
           there(SCALE, scale), there(RESIDUAL, residual), y.data(), number, rows, count,
           entries.data(), bytes, table);
    send(y.data(), y.bytes());
    for (auto* buffer : {&x, &bias, &factor, &scale, &residual, &out}) {
        if (!buffer->guards_intact()) return 3;
    }
    return entries.guards_intact() ? 0 : 3;
}
