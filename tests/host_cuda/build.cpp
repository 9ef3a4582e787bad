// build COUNT CENTRE STEP BALANCED REAL_BYTES
//
// Reads the two tails from standard input and writes the node values of kernels/build.cu, then
// its lines, to standard output. Exits with 3 if memory beside them was written.
#include "build.cu"

template <typename Real, typename Kernel>
int run(Kernel kernel, int count, double centre, double step, int balanced) {
    Line<double> left, right;
    receive(&left, sizeof left);
    receive(&right, sizeof right);
    Buffer<double> values(count, 0);
    Buffer<Line<Real>> lines(count + 1, 0);
    launch(nodes, 3, 32, 0, values.data(), count, centre, step, balanced);
    launch(kernel, 3, 32, 0, lines.data(), static_cast<const double*>(values.data()), count, centre,
           step, left, right);
    send(values.data(), values.bytes());
    send(lines.data(), lines.bytes());
    return values.guards_intact() && lines.guards_intact() ? 0 : 3;
}

int main(int, char** argv) {
    const int count = std::atoi(argv[1]), balanced = std::atoi(argv[4]);
    const double centre = std::atof(argv[2]), step = std::atof(argv[3]);
    return std::atoi(argv[5]) == 4 ? run<float>(lines_float32, count, centre, step, balanced)
                                   : run<double>(lines_float64, count, centre, step, balanced);
}
