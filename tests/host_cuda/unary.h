// What elementwise.cpp and quantized.cpp have in common: y = table(x) by a kernel.
//
//   PROGRAM COUNT LENGTH GRID BLOCK X_OFFSET Y_OFFSET
//
// Reads a table, LENGTH entries and COUNT inputs from standard input and writes the results of the
// kernel to standard output. Arrays start the given number of elements behind a 16-byte boundary;
// Y_OFFSET −1 works in place. Returns 3 if memory beside them was written.
#pragma once

#include "host.h"

template <typename X, typename Y, typename Table, typename Entry, typename Kernel>
int unary(char** argv, Kernel kernel) {
    long long a[6];
    for (int i = 0; i < 6; ++i) a[i] = std::atoll(argv[i + 1]);
    const auto [count, length, grid, block, x_offset, y_offset] = a;

    Table table;
    receive(&table, sizeof table);
    Buffer<Entry> entries(length, 0);
    receive(entries.data(), entries.bytes());
    Buffer<X> x(count, x_offset);
    Buffer<Y> other(count, y_offset < 0 ? 0 : y_offset);
    receive(x.data(), x.bytes());
    Y* y = y_offset < 0 ? reinterpret_cast<Y*>(x.data()) : other.data();

    launch(kernel, grid, block, IN_SHARED ? entries.bytes() : 0,
           static_cast<const X*>(x.data()), y, count, static_cast<const Entry*>(entries.data()),
           static_cast<int>(entries.bytes()), table);

    send(y, other.bytes());
    return x.guards_intact() && other.guards_intact() && entries.guards_intact() ? 0 : 3;
}
