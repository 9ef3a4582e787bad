// operations COUNT
//
// Reads COUNT numbers a, b and c and as many doubles from standard input and writes the results of
// operations.cu to standard output, all floats first.
#include "pairs.cuh"

#include "operations.cu"

int main(int, char** argv) {
    const int count = std::atoi(argv[1]);
    std::vector<float> a(count), b(count), c(count), floats(FLOATS * count);
    std::vector<double> doubles(count);
    std::vector<unsigned> words(WORDS * count);
    for (auto* each : {&a, &b, &c}) receive(each->data(), count * sizeof(float));
    receive(doubles.data(), count * sizeof(double));
    launch(operations, 1, 1, 0, a.data(), b.data(), c.data(), doubles.data(), count, floats.data(),
           words.data());
    send(floats.data(), floats.size() * sizeof(float));
    send(words.data(), words.size() * sizeof(unsigned));
}
