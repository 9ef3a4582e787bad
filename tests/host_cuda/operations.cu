// Every operation of kernels/floating.cuh and pairs.cuh, which each have a CUDA half and one in C++:
// for a, b and c of each element the results of all, floats first. Included behind those files.

constexpr int FLOATS = 19, WORDS = 17;

template <typename Scalar>
__device__ void rounded(float a, float bound, float c, unsigned*& word) {
    Scalar low, high;
    narrow(a, low);
    narrow(c, high);
    const Pair<Scalar> x = pair(low, high);
    Pair<Scalar> y, z;
    narrow(bound, 0.5f, y);
    narrow(1.0f, bound, z);
    *word++ = y.bits;
    *word++ = exceeds(x, y);
    *word++ = clamped(x, y, z).bits;
}

extern "C" __global__ void operations(
    const float* as, const float* bs, const float* cs, const double* doubles, int count,
    float* floats, unsigned* words) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const float a = as[i], b = bs[i], c = cs[i];
        const float bound = low_word(b) << 1 > 0xff000000u ? 1.0f : b;  // never NaN
        float* f = floats + FLOATS * i;
        *f++ = multiply_add(a, b, c);
        *f++ = multiply_add_down(a, b, c);
        *f++ = multiply_add_up(a, b, c);
        *f++ = subtract_product_up(a, b, c);
        *f++ = multiply_add_saturated(a, b, c);
        *f++ = add(a, b);
        *f++ = subtract(a, b);
        *f++ = multiply(a, b);
        *f++ = minimum(a, b);
        *f++ = maximum(a, b);
        *f++ = positive_part(a);
        *f++ = bounded_magnitude(a, bound);
        *f++ = where_exceeds(a, bound, c, a);
        *f++ = unless_exceeds(a, bound, c);
        narrow(doubles[i], *f++);
        Float16 half;
        BFloat16 brain;
        narrow(a, half);
        *f++ = widen(half);
        narrow(a, brain);
        *f++ = widen(brain);
        narrow(as_double(a), *f++);
        narrow(add_down(doubles[i], as_double(b)), *f++);

        unsigned* word = words + WORDS * i;
        *word++ = exceeds(a, bound);
        *word++ = low_word(a);
        *word++ = low_word(doubles[i]);
        *word++ = high_word(doubles[i]);
        *word++ = low_word(from_words(low_word(a), low_word(b)));
        *word++ = positive(a);
        *word++ = positive(doubles[i]);
        *word++ = at_least_zero(a);
        *word++ = at_least_zero(doubles[i]);
        *word++ = __funnelshift_l(low_word(a), low_word(b), low_word(c));
        rounded<Float16>(a, bound, c, word);
        rounded<BFloat16>(a, bound, c, word);
        Float16 limit;
        narrow(a, half);
        narrow(bound, limit);
        *word++ = magnitude_exceeds(pair(half, limit), pair(limit, limit));
    }
}
