// kernels/quantized.cu; unary.h says how to run it.
#include "quantized.cu"
#include "unary.h"

int main(int, char** argv) {
    return unary<TABLE::Input, TABLE::Output, TABLE, Entry>(argv, quantized);
}
