"""kernels/build.cu run on the CPU: nodes of every function near scipy's, lines the same bits."""

from dataclasses import replace

import numpy as np
import pytest
from cubin import ARCHITECTURES, compile_kernel, instructions
from host_cuda import SANITIZERS, Program

from cupylut import FUNCTIONS, build, tabulate
from cupylut.declaration import Tail

pytestmark = pytest.mark.usefixtures("compiler")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nodes_and_lines(name: str) -> None:
    for size, nodes, dtype in ((1024, "plain", "float32"), (77, "balanced", "float64")):
        table = tabulate(name, dtype, size=size, nodes=nodes)
        values, lines = Program().build(table)
        # The C library's erfc and exp are within a few ulp; a balanced node adds a difference.
        np.testing.assert_allclose(values, table.values, rtol=2e-14, atol=1e-15)
        near = 4e-15 * max(1, np.abs(values).max()) / table.step
        np.testing.assert_allclose(lines, table.entries, rtol=1e-7, atol=near)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_expression_far_out_in_the_tails(name: str) -> None:
    table = tabulate(name, "float64", size=801, domain=(-400.0, 400.0))
    values, _ = Program().build(table)
    np.testing.assert_allclose(values, table.values, rtol=1e-12, atol=1e-300)
    np.testing.assert_array_equal(np.signbit(values), np.signbit(table.values))


@pytest.mark.parametrize("nodes", ["plain", "balanced"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_lines_between_given_values_are_the_same_bits(nodes: str, dtype: str) -> None:
    table = tabulate("tanh", dtype, size=501, nodes=nodes, domain=(-5.0, 5.0))
    values, lines = Program().build(table)
    assert lines.tobytes() == replace(table, values=values).entries.tobytes()


@pytest.mark.parametrize("kernel", ["lines_float32", "lines_float64"])
def test_lines_keep_subnormal_numbers(kernel: str) -> None:
    code = instructions(compile_kernel("build.cu", (), 90), kernel)
    assert any("F2F" in line for line in code) == (kernel == "lines_float32")
    assert not [line for line in code if ".FTZ" in line]


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_under_sanitizers(sanitizer: str) -> None:
    for size in (2, 3, 97):
        table = tabulate("gelu", size=size, nodes="balanced", domain=(-4.0, 4.0))
        values, _ = Program(sanitizer).build(table)
        np.testing.assert_allclose(values, table.values, rtol=2e-14, atol=1e-15)


def test_a_function_of_the_user_is_not_taken_for_one_of_the_same_name() -> None:
    def gelu(x: np.ndarray) -> np.ndarray:
        return 2 * FUNCTIONS["gelu"](x)

    for nodes in ("plain", "balanced"):
        declared = tabulate("gelu", size=64, nodes=nodes)
        assert build.computes_declared(declared)
        own = tabulate(gelu, size=64, nodes=nodes, domain=(-4.0, 4.0), left=-0.0,
                       right=Tail(2.0, 0.0))  # fmt: skip
        assert own.name == declared.name
        assert not build.computes_declared(own)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [*((name, 90) for name in FUNCTIONS), *(("mish", each) for each in ARCHITECTURES)],
)
def test_build_compiles(name: str, architecture: int) -> None:
    compile_kernel("build.cu", tuple(build.build_defines(name).items()), architecture)


def test_build_compiles_without_an_expression() -> None:
    assert build.build_defines("a function of the user") == {}
    compile_kernel("build.cu", (), 90)
