"""benchmarks/counts.py: the counts are those of the machine code."""

import re
from collections import Counter
from functools import cache

import pytest
from cubin import compile_kernel, instructions, lookup_defines, stored_bytes, vector_loop

from cupylut import device
from cupylut.benchmarks import bank_conflicts, formula, performance, roofline
from cupylut.benchmarks.counts import ARCHITECTURES, COUNTS, LOOP_BYTES, Case, Count, parse
from cupylut.dtypes import as_dtype

PIPES = {
    "fma": ("FFMA", "FFMA2", "FMUL", "FADD", "IMAD", "HADD2", "HMUL2", "HFMA2"),
    "special": ("MUFU", "F2F", "F2I", "I2F", "FRND"),
    "double": ("DFMA", "DADD", "DMUL", "DSETP", "DMNMX"),
    # These take an issue slot and no time of what the model knows of besides.
    "": ("LDS", "LDG", "STG", "LDC", "LDCU", "BRA", "BSSY", "BSYNC", "NOP"),
}


def pipe(opcode: str) -> str:
    """What executes an instruction; the integer unit ("alu") is what is left."""
    if opcode.startswith("U") or opcode == "R2UR":  # the uniform datapath
        return ""
    return next((name for name, opcodes in PIPES.items() if opcode in opcodes), "alu")


@cache
def loop(case: Case, architecture: int) -> list[str]:
    """The instructions of the vector loop of a case."""
    dtype, kind, function = case
    entry = "product" if kind == "product" else "elementwise"
    if kind in formula.NAMESPACES:
        defines = formula.defines(formula.name(kind, function), dtype)
        cubin = compile_kernel("formula.cu", tuple(defines.items()), architecture)
    elif kind == "product":
        defines = device.defines((roofline.table_of(case),), as_dtype(dtype))
        cubin = compile_kernel("gated.cu", tuple(defines.items()), architecture)
    else:
        cubin = compile_kernel(
            "elementwise.cu", lookup_defines(roofline.table_of(case)), architecture
        )
    return [line for line in vector_loop(instructions(cubin, entry)) if not line.endswith(":")]


def count(code: list[str]) -> Count:
    """Those of as many turns of a loop as handle LOOP_BYTES."""
    opcodes = [re.sub(r"^@!?\S+\s+", "", line).split()[0].split(".")[0] for line in code]
    pipes = Counter(map(pipe, opcodes))
    turns = LOOP_BYTES // stored_bytes(code)
    counts = len(code), *(pipes[name] for name in ("fma", "alu", "special", "double"))
    return Count(*(turns * each for each in counts))


def format_line(case: Case, counts: dict[int, Count]) -> str:
    """A line of the table in counts.py."""
    cells = ("/".join(map(str, counts[architecture])) for architecture in ARCHITECTURES)
    return "{:<9}{:<11}{:<10}".format(*case) + "".join(f"{cell:>17}" for cell in cells)


def assert_up_to_date(case: Case, architecture: int) -> None:
    """Within one instruction an element of what is written, which another compiler may need."""
    found, written = count(loop(case, architecture)), COUNTS[case][architecture]
    lanes = LOOP_BYTES // as_dtype(case[0]).itemsize
    line = format_line(case, COUNTS[case] | {architecture: found})
    for now, then in zip(found, written, strict=True):
        assert abs(now - then) <= lanes, f"the kernel has changed; in counts.py:\n{line}"


LOOKUPS = [case for case in COUNTS if case[1] not in formula.NAMESPACES]
by_lookup = pytest.mark.parametrize("case", LOOKUPS, ids="-".join)


@by_lookup
def test_counts_of_tables(case: Case) -> None:
    assert_up_to_date(case, 90)


@pytest.mark.parametrize(
    ("dtype", "kind", "function", "architecture"),
    [
        ("float32", "formula", "gelu_tanh", 86),
        ("bfloat16", "formula", "gelu", 90),
        ("bfloat16", "compact", "gelu", 80),
        ("float32", "linear", "gelu", 86),
        ("float32", "gate", "gelu", 100),
    ],
)
def test_counts_elsewhere(dtype: str, kind: str, function: str, architecture: int) -> None:
    assert_up_to_date((dtype, kind, function), architecture)


def test_a_table_that_clamps_on_both_sides() -> None:
    """One instruction an element more than where a tail is the identity."""
    counts = [count(loop(("float32", "linear", name), 90)) for name in ("gelu", "tanh")]
    lanes = LOOP_BYTES // 4
    assert counts[0].instructions < counts[1].instructions <= counts[0].instructions + 2 * lanes


def test_the_aims_hold() -> None:
    for what, aim, cases in performance.BUDGETS:
        for case in cases:
            assert roofline.predict(roofline.CARDS["h100"], case).instructions <= aim, what


@pytest.mark.exhaustive
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", COUNTS, ids="-".join)
def test_all_counts(case: Case, architecture: int) -> None:
    assert_up_to_date(case, architecture)


def test_counts_are_written_as_they_are_read() -> None:
    lines = "\n".join(format_line(case, counts) for case, counts in COUNTS.items())
    assert parse(lines) == COUNTS


@by_lookup
def test_reads_are_those_of_the_machine_code(case: Case) -> None:
    code = loop(case, 90)
    found = [
        re.search(r"LDS\.?(\S*)", line)[1]  # type: ignore[index]
        for line in code
        if "LDS" in line
    ]
    widths = {"": 4, "U16": 2, "64": 8, "128": 16}
    lanes = stored_bytes(code) // as_dtype(case[0]).itemsize
    reads = bank_conflicts.reads(roofline.table_of(case))
    assert Counter(widths[width] for width in found) == Counter(w for _, w in reads * lanes)


# --- passes ---
