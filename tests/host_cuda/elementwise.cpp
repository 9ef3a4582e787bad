// elementwise COUNT LENGTH GRID BLOCK X_OFFSET Y_OFFSET UNCACHED
//
// Reads a TABLE, LENGTH entries and COUNT inputs from standard input and writes the results of
// kernels/elementwise.cu to standard output. Arrays start the given number of elements behind a
// 16-byte boundary; Y_OFFSET −1 works in place. Exits with 3 if memory beside them was written.
#include "elementwise.cu"

int main(int, char** argv) {
    long long a[7];
    for (int i = 0; i < 7; ++i) a[i] = std::atoll(argv[i + 1]);
    const auto [count, length, grid, block, x_offset, y_offset, uncached] = a;

    TABLE table;
    receive(&table, sizeof table);
    Buffer<Entry> entries(length, 0);
    receive(entries.data(), entries.bytes());
    Buffer<SCALAR> x(count, x_offset), other(count, y_offset < 0 ? 0 : y_offset);
    receive(x.data(), x.bytes());
    Buffer<SCALAR>& y = y_offset < 0 ? x : other;

    launch(uncached ? elementwise_uncached : elementwise, grid, block,
           uncached ? 0 : entries.bytes(), static_cast<const SCALAR*>(x.data()), y.data(), count,
           static_cast<const Entry*>(entries.data()), static_cast<int>(entries.bytes()), table);

    send(y.data(), y.bytes());
    return x.guards_intact() && other.guards_intact() && entries.guards_intact() ? 0 : 3;
}
