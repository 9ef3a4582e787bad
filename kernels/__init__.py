"""The CUDA sources.

==================  ===============================================================================
``elementwise.cu``  out = table(x) over an array: table into shared memory, whole vectors
``quantized.cu``    out = table(x) where x or out has 8 bits
``gated.cu``        out = z · table(x) for gated layers and backward passes, and its gradient
``fused.cu``        out = residual + scale · table(x + bias), whichever of them there are
``formula.cu``      out = f(x) by a formula and no table: what the tables are measured against
``stream.cuh``      the pass over arrays that all share, and the copy into shared memory
``vectors.cuh``     what a thread loads and stores at a time, and computes from that
``lookup.cuh``      the results of lookups before they are rounded
``rows.cuh``        which row and column an element of an array is in
``build.cu``        the nodes of a function, computed on the device, and the lines between them
``linear.cuh``      one lookup in a linear table; its Python half is ``cupylut/tables/linear.py``
``direct.cuh``      one lookup by bit pattern, in 16 bits; ``cupylut/tables/direct.py``
``compact.cuh``     one lookup of a gate function, in 16 bits; ``cupylut/tables/compact.py``
``gate.cuh``        one lookup of a gate function, in float32; ``cupylut/tables/gate.py``
``polynomial.cuh``  one lookup of any function, in float32 and float64; ``tables/polynomial.py``
``unrounded.cuh``   one lookup by bit pattern, of float32 results; ``tables/unrounded.py``
``windows.cuh``     where the results are that direct and unrounded tables keep
``full.cuh``        one lookup among the results of all inputs, in 16 bits; ``tables/full.py``
``pairs.cuh``       two 16-bit numbers in a word
``items.cuh``       the bytes or halves of a word, taken out of it
``quantized.cuh``   one lookup of 8 bits, by pattern; ``cupylut/tables/quantized.py``
``floating.cuh``    arithmetic that keeps subnormals, and the 16-bit types
==================  ===============================================================================

``cupylut/compiler.py`` compiles them through ``cupy.RawModule``; the tests also compile them as C++
and run them on the CPU. They include nothing but each other.
"""
