"""benchmarks/bank_conflicts.py, counts.py and roofline.py: what the predicted speeds are made of.

The counts are those of the machine code; the simulated passes follow from entries that give the
tables' results; the model's arithmetic is redone by hand.
"""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from cubin import compile_kernel, instructions, lookup_defines, stored_bytes, vector_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import made_cell, made_record

from cupylut import cli, device, tabulate
from cupylut.accuracy import all_inputs, as_dtype, widened
from cupylut.benchmarks import bank_conflicts, formula, performance, roofline
from cupylut.benchmarks.counts import ARCHITECTURES, COUNTS, LOOP_BYTES, Case, Count, parse
from cupylut.measuring import records
from cupylut.tables import Table
from cupylut.tables.gate import unpack
from cupylut.tables.shared_memory import BANKS, passes

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
    with TemporaryDirectory() as folder:
        found = vector_loop(instructions(cubin, entry, Path(folder)))
    return [line for line in found if not line.endswith(":")]


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
ONE_OF_EACH = {case[:2]: case for case in LOOKUPS}.values()  # dtype and kind
by_lookup = pytest.mark.parametrize("case", ONE_OF_EACH, ids="-".join)


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


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 63), min_size=32, max_size=32), st.sampled_from([2, 4, 8, 16]))
def test_passes_by_the_definition(places: list[int], width: int) -> None:
    """One lane after the other: the words that its group asks each bank for."""
    groups = max(1, width // 4)
    total = 0
    for group in range(groups):
        asked: dict[int, set[int]] = {}
        for place in places[group * 32 // groups : (group + 1) * 32 // groups]:
            for byte in range(place * width, (place + 1) * width):
                asked.setdefault(byte // 4 % 32, set()).add(byte // 4)
        total += max(map(len, asked.values()))
    assert passes(np.array([places]) * width, width).tolist() == [total]


@pytest.mark.parametrize(("width", "lanes", "groups"), [(4, 32, 1), (8, 16, 2), (16, 8, 4)])
def test_passes_of_random_entries(width: int, lanes: int, groups: int) -> None:
    """Each group of lanes throws balls into as many bins; its passes are the fullest bin's."""
    rng = np.random.default_rng(0)
    addresses = rng.integers(0, 1 << 20, (4096, 32)) * width
    fullest = rng.multinomial(lanes, [1 / lanes] * lanes, 100_000).max(axis=1).mean()
    assert passes(addresses, width).mean() == pytest.approx(groups * fullest, rel=0.01)


COMPACT = [table for table in LOOKUPS if table[1] == "compact"]


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(COMPACT),
    st.lists(st.integers(0, 0xFFFF), min_size=256, max_size=256),
)
def test_compact_tables_have_no_conflicts(case: Case, patterns: list[int]) -> None:
    """A pass a plane for any inputs, NaN and infinities too."""
    table = roofline.table_of(case)
    x = np.array(patterns, np.uint16).view(as_dtype(case[0]))
    assert bank_conflicts.simulate(table, x) == len(bank_conflicts.reads(table))


@pytest.mark.parametrize("case", COMPACT, ids="-".join)
def test_compact_entries_are_those_of_the_result(case: Case) -> None:
    table = roofline.table_of(case)
    x = every(table)
    number = bank_conflicts.entry_numbers(table, x)
    assert number.min() == 0
    assert number.max() < BANKS
    planes = table.entries.reshape(-1, BANKS).astype(float)
    t = np.fmin(np.abs(widened(x)), table.layout.limit)
    p = sum(plane[number] * t**power for power, plane in enumerate(planes))
    y = np.fmax(widened(x), 0) - t * p ** (2**table.layout.squarings)
    # The kernel computes p in float32, which may round otherwise close to a tie.
    assert (y.astype(table.dtype) == table(x)).mean() > 0.999


def every(table: Table) -> np.ndarray:
    """All finite inputs of 16 bits, or a sample of others."""
    if table.dtype.itemsize == 2:
        x = all_inputs(table.dtype)
        return x[np.isfinite(widened(x))]
    rng = np.random.default_rng(0)
    return np.append(rng.normal(scale=4, size=1 << 16), [0, -0.0, 1e5, -1e5]).astype(table.dtype)


@pytest.mark.parametrize(("dtype", "eps"), [("float32", 2**-23), ("bfloat16", 2**-8)])
def test_linear_entries_are_those_of_the_result(dtype: str, eps: float) -> None:
    table = tabulate("silu", dtype, kind="linear")
    x = every(table)
    x = x[x != 0]  # which is kept
    slope, intercept = table.entries[bank_conflicts.entry_numbers(table, x)].T.astype(float)
    low, high = (float(table.parameters[0][name]) for name in ("low", "high"))
    want = widened(table(x))
    got = slope * np.clip(widened(x), low, high) + intercept
    assert (np.abs(got - want) <= eps * np.abs(want)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_direct_entries_are_the_results(dtype: str) -> None:
    table = tabulate("gelu", dtype)
    x = all_inputs(table.dtype)
    places = bank_conflicts.entry_numbers(table, x)
    right = table.entries[places] == table(x).view(np.uint16)
    # Near zero the kernel computes the result, and where it is x it takes x.
    assert right[np.abs(widened(x)) > 0.1].mean() > 0.5
    assert right[(np.abs(widened(x)) > 0.1) & (np.abs(widened(x)) < 2)].all()
    assert (places.min(), places.max()) == (0, len(table.entries) - 1)


def test_gate_entries_are_those_of_the_result() -> None:
    table = tabulate("gelu")
    x = every(table)
    layout, number = table.layout, bank_conflicts.entry_numbers(table, x)
    c, rest = unpack(table.words)
    a = np.fmin(np.abs(widened(x)), layout.limit)
    d = layout.coordinate(a) - number * layout.step
    assert np.abs(d).max() <= layout.step / 2
    q = np.polynomial.polynomial.polyval(d, c[number].T, tensor=False) + rest[number]
    assert np.allclose(np.fmax(x, 0) - a * q * 2.0**-80, table(x), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(("function", "dtype"), [("mish", "float32"), ("gelu", "float64")])
def test_polynomial_entries_are_those_of_the_result(function: str, dtype: str) -> None:
    table = tabulate(function, dtype, kind="polynomial")
    x = every(table)
    number, y = bank_conflicts.entry_numbers(table, x), np.empty(x.size)
    for side, on in ((table.left, x <= 0), (table.right, x > 0)):
        a = np.fmin(np.abs(x[on]), side.layout.limit)
        start = side.layout.middles()[side.layout.segment(a)]
        rows = table.rows[number[on]]
        p = np.polynomial.polynomial.polyval(
            widened(a) - start, rows[:, [0, *range(2, rows.shape[1])]].T, tensor=False
        )
        reach = np.fmin(widened(np.abs(x[on])), side.reach)
        factor = a if table.product else 1
        y[on] = side.slope * reach + side.intercept + side.scale * factor * (p + rows[:, 1])
    assert np.allclose(y, table(x), rtol=1e-5, atol=1e-30)


# --- the model ---


def test_prediction_by_hand() -> None:
    """bfloat16 direct on an H100: the slowest of memory, issue, units and shared memory."""
    case = ("bfloat16", "direct", "gelu")
    p = roofline.predict(roofline.CARDS["h100"], case)
    count = COUNTS[case][90]
    clocks = 132 * 1.98e9
    assert p.instructions == count.instructions / 16
    assert (p.reads, p.read_bytes, p.moved_bytes) == (1, 2, 4)
    passes_of_vectors = 32 * 4 / 128
    expected = {
        "memory": 4 / 3.35e12,
        "issue": count.instructions / 16 / (clocks * 128),
        "FMA": count.fma / 16 / (clocks * 128),
        "ALU": count.alu / 16 / (clocks * 64),
        "SFU": count.special / 16 / (clocks * 16),
        "FP64": 0,
        "shared": (p.passes + passes_of_vectors) / 32 / clocks,
    }
    assert p.seconds == pytest.approx(expected, rel=1e-12, abs=0)
    assert 3 < p.passes < 4
    assert p.bound == "memory"
    assert p.copy_fraction == 1
    assert p.load == pytest.approx(p.seconds["shared"] / p.seconds["memory"])


def test_bounds() -> None:
    """A card with slow double precision is bound by that; one with fast memory by the kernel."""
    slow = roofline.predict(roofline.CARDS["a6000"], ("float64", "linear", "gelu"))
    assert slow.bound == "FP64"
    assert slow.copy_fraction == slow.seconds["memory"] / slow.seconds["FP64"] < 1
    fast = roofline.predict(roofline.CARDS["b200"], ("float16", "linear", "gelu"))
    assert fast.bound == "shared"
    every_case = [
        roofline.predict(card, case) for card in roofline.CARDS.values() for case in COUNTS
    ]
    assert all(0 < p.copy_fraction <= 1 for p in every_case)
    assert all((p.copy_fraction == 1) == (p.load <= 1) for p in every_case)


def test_the_papers_gain_is_the_fusion() -> None:
    chain, fused, tabulated = roofline.paper()
    assert chain.moved_bytes == 4 * (6 * 2 + 2 * 3)
    assert fused.gain == pytest.approx(chain.moved_bytes / fused.moved_bytes) == 9
    assert tabulated.gain == 1
    assert abs(fused.gain * tabulated.gain / roofline.PAPER_GAIN - 1) < 0.01


def test_measurements_stand_beside(tmp_path: Path) -> None:
    """Of the largest array, on the same card."""
    case, card = ("bfloat16", "direct", "gelu"), roofline.CARDS["h100"]
    measured = [
        made_cell("gelu", "bfloat16", 1 << 28, copy=2.0, direct=2.5),
        made_cell("gelu", "bfloat16", 1 << 10, copy=2.0, direct=4.0),
        made_cell("swiglu", "float32", 1 << 28, copy=2.0, gate=3.2),
    ]
    (tmp_path / "h100.json").write_text(json.dumps(made_record(measured)))
    (tmp_path / "another.json").write_text(json.dumps([1]))
    on_card = roofline.measured_on(card, tmp_path)
    assert on_card == measured
    assert roofline.measured(case, on_card) == 0.8
    assert roofline.measured(("float32", "product", "silu"), on_card) == 0.625
    assert roofline.measured(("float16", "direct", "gelu"), on_card) is None
    assert roofline.measured_on(roofline.CARDS["h200"], tmp_path) == []
    lines = "\n".join(roofline.report(card, tmp_path))
    assert lines.count("not measured") == len(COUNTS) - 2
    assert lines.count("0.80\n") == 1


@pytest.mark.parametrize("gpu", roofline.CARDS)
def test_command(
    gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["model", "--gpu", gpu, "--json", "model.json"]) == 0
    printed = capsys.readouterr().out
    assert roofline.CARDS[gpu].name in printed
    assert "Predicted" in printed
    on_card = roofline.measured_on(roofline.CARDS[gpu])
    fractions = [roofline.measured(case, on_card) for case in COUNTS]
    assert printed.count("not measured") == fractions.count(None)
    record = json.loads(Path("model.json").read_text(encoding="utf-8"))
    assert record["model"].startswith("predicted")
    assert [p["measured_copy_fraction"] for p in record["predicted"]] == fractions


# --- docs/performance.md ---

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


def test_the_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert performance.document() == written, "run python -m cupylut model --markdown ..."


def test_results_are_found_from_any_folder() -> None:
    assert DOCUMENT.parent / "results" == records.RESULTS


def test_what_the_document_says() -> None:
    """The claims in its prose."""

    def fraction(gpu: str, case: Case) -> float:
        return roofline.predict(roofline.CARDS[gpu], case).copy_fraction

    at_the_limit = [case for case in COUNTS if case[0] != "float64"]
    assert all(fraction(g, c) == 1 for g in ("a6000", "a100", "h100") for c in at_the_limit)
    formulas = [case for case in COUNTS if case[1] == "formula"]
    wide = [case for case in formulas if case[0] == "float32"]
    narrow = [case for case in formulas if case[0] != "float32"]
    assert all(fraction(gpu, case) == 1 for gpu in roofline.CARDS for case in wide)
    assert any(fraction("h200", case) < 1 for case in narrow)
    fast = [case for case in COUNTS if case[1] == "fast"]
    assert all(fraction(gpu, case) == 1 for gpu in roofline.CARDS for case in fast)
    for gpu, card in roofline.CARDS.items():
        for dtype, _, function in fast:
            tables = (c for c in LOOKUPS if c[0] == dtype and c[1] in ("direct", "compact", "gate"))
            most = roofline.predict(card, (dtype, "fast", function)).instructions
            assert all(roofline.predict(card, c).instructions > most for c in tables), gpu
    assert all(fraction("b200", case) < 1 for case in narrow)
    for gpu, card in roofline.CARDS.items():
        for dtype, kind, function in COMPACT:
            direct, full = ((dtype, other, "gelu") for other in ("direct", "full"))
            assert fraction(gpu, direct) == fraction(gpu, full) == 1
            assert round(fraction(gpu, (dtype, kind, function)), 2) >= 0.97
            assert roofline.predict(card, full).load > 0.8 * roofline.predict(card, direct).load
    polynomial = ("float64", "polynomial", "gelu")
    bounds = {gpu: roofline.predict(card, polynomial).bound for gpu, card in roofline.CARDS.items()}
    assert [gpu for gpu, bound in bounds.items() if bound == "FP64"] == ["a6000"]
    assert [gpu for gpu, bound in bounds.items() if bound == "shared"] == ["h200", "b200"]


def test_the_document_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["model", "--markdown", "page.md"]) == 0
    assert Path("page.md").read_text(encoding="utf-8") == performance.document()
