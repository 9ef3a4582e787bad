// Linear tables made on the device: the ordinates of the nodes, then the lines between them.
//
// Compiled once per function:
//   FUNCTION  f as an expression in the double x; without it there is only `lines`
//
// The steps and their order are those of node_values and LinearTable.entries in
// cupylut/tables/linear.py; contraction is off (--fmad=false), so that only f itself, whose
// library functions are within a few ulp of scipy's, can differ.
#include "linear.cuh"

#ifdef FUNCTION
__device__ __forceinline__ double f(double x) { return FUNCTION; }

// values[i] = f at node i of count; balanced moves the inner ones by f″h²/16.
extern "C" __global__ void nodes(
    double* values, int count, double centre, double step, int balanced) {
    const double half = (count - 1) / 2.0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        double y = f(centre + (i - half) * step);
        if (balanced && 0 < i && i < count - 1) {
            const double before = f(centre + (i - 1 - half) * step);
            y -= (before - 2 * y + f(centre + (i + 1 - half) * step)) / 16;
        }
        values[i] = y;
    }
}
#endif

// Line 0 is the left tail, lines 1 to count − 1 the segments, line count the right tail.
template <typename Real>
__device__ __forceinline__ void fill(
    Line<Real>* lines, const double* values, int count, double centre, double step,
    Line<double> left, Line<double> right) {
    const double half = (count - 1) / 2.0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i <= count; i += gridDim.x * blockDim.x) {
        Line<double> line = i == 0 ? left : right;
        Real slope;
        narrow(line.slope, slope);
        if (0 < i && i < count) {
            const double y0 = values[i - 1], y1 = values[i];
            const double middle = centre + (i - 0.5 - half) * step;
            // The intercept belongs to the slope as it is stored: see linear.py.
            narrow((y1 - y0) / step, slope);
            line.intercept = (y1 + y0) / 2 - as_double(slope) * middle;
        }
        lines[i].slope = slope;
        narrow(line.intercept, lines[i].intercept);
    }
}

extern "C" __global__ void lines_float32(
    Line<float>* lines, const double* values, int count, double centre, double step,
    Line<double> left, Line<double> right) {
    fill(lines, values, count, centre, step, left, right);
}

extern "C" __global__ void lines_float64(
    Line<double>* lines, const double* values, int count, double centre, double step,
    Line<double> left, Line<double> right) {
    fill(lines, values, count, centre, step, left, right);
}
