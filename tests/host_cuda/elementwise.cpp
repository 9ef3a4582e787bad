// kernels/elementwise.cu; unary.h says how to run it.
#include "elementwise.cu"
#include "unary.h"

int main(int, char** argv) {
    return unary<SCALAR, SCALAR, TABLE, Entry>(argv, elementwise);
}
