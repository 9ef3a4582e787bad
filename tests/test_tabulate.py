"""tabulate.py and tables/: choices, errors, and files."""

import copy
import io
import json
import pickle
from fractions import Fraction

import numpy as np
import pytest

import cupylut
from cupylut import FUNCTIONS, Function, Tail, load, tabulate
from cupylut.dtypes import DTYPES, round_to
from cupylut.tables import table as table_file


@pytest.fixture(scope="module")
def table() -> cupylut.Table:
    return tabulate("gelu", size=64)


def test_defaults() -> None:
    table = tabulate("gelu", kind="linear")
    assert (table.dtype, table.size, table.nodes) == (np.float32, 1024, "plain")
    assert repr(table) == "LinearTable(gelu, float32, 1024 nodes on [-4.637, 4.637])"


def test_the_most_accurate_kind_is_the_default() -> None:
    kinds = {dtype.name: tabulate("silu", dtype).kind for dtype in DTYPES}
    assert kinds == {
        "float16": "direct",
        "bfloat16": "direct",
        "float32": "gate",
        "float64": "polynomial",
    }
    assert tabulate("mish").kind == "polynomial"
    own = tabulate(np.arctan, left=-np.pi / 2, right=np.pi / 2)
    assert own.kind == "polynomial"
    assert own.report.max_ulp <= 2
    assert tabulate("silu", domain="optimal").kind == "linear"
    with pytest.raises(ValueError, match="no gate table was fitted for mish in float32"):
        tabulate("mish", kind="gate")
    with pytest.raises(ValueError, match="takes no size"):
        tabulate("gelu", kind="gate", size=5)


def test_a_domain_and_a_declaration() -> None:
    table = tabulate(FUNCTIONS["silu"], "bfloat16", size=100, domain=(-2, 3), nodes="balanced")
    assert (table.lo, table.hi, table.size, table.nodes) == (-2.0, 3.0, 100, "balanced")
    assert table.dtype.name == "bfloat16"


def test_a_function_of_the_user() -> None:
    table = tabulate(np.arctan, "float64", domain=(-50, 50), left=-np.pi / 2, right=np.pi / 2)
    x = np.linspace(-60, 60, 999)
    np.testing.assert_allclose(table(x), np.arctan(x), atol=0.021)
    np.testing.assert_array_equal(
        table(np.float64([np.inf, -np.inf, -0.0])), [np.pi / 2, -np.pi / 2, 0]
    )


@pytest.mark.parametrize("dtype", cupylut.dtypes.DTYPES, ids=lambda d: d.name)
def test_a_step_of_the_user_is_nan_for_nan(dtype: np.dtype) -> None:
    def step(x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, -1.0, 2.0)

    tails = {"left": -1.0, "right": 2.0}
    tables = [tabulate(step, dtype, kind="linear", domain=(-1, 1), **tails)]
    if dtype.itemsize == 2:
        tables += [tabulate(step, dtype, kind=kind, **tails) for kind in ("direct", "full")]
        tables += [cupylut.quantized(step, dtype, "float8_e5m2", **tails)]
    for table in tables:
        y = table(np.array([np.nan, -np.nan, 3, -3]).astype(dtype)).astype(float)
        np.testing.assert_array_equal(y, [np.nan, np.nan, 2, -1])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"function": "silly"}, ValueError, "unknown function 'silly'"),
        ({"dtype": "int8"}, ValueError, "no tables for dtype"),
        ({"kind": "cubic"}, ValueError, "choose one of direct, full, compact, gate, polynomial"),
        ({"size": 1}, ValueError, "2 to 65,536 nodes"),
        ({"size": True}, ValueError, "2 to 65,536 nodes"),
        (
            {"size": np.float64(np.inf)},
            ValueError,
            r"size=np.float64\(inf\): a table has 2 to 65,536 nodes",
        ),
        ({"size": np.nan}, ValueError, "size=nan: a table has 2 to 65,536 nodes"),
        ({"size": "64"}, ValueError, "size='64': a table has 2 to 65,536 nodes"),
        ({"domain": (3.0, -3.0)}, ValueError, "lower one first"),
        ({"domain": (-np.inf, 3.0)}, ValueError, "finite"),
        ({"domain": "best"}, ValueError, '"optimal"'),
        ({"domain": (1,)}, ValueError, r"domain=\(1,\): give two finite numbers"),
        ({"domain": (1, 2, 3)}, ValueError, r"domain=\(1, 2, 3\): give two finite numbers"),
        ({"domain": ("a", 3)}, ValueError, r"domain=\('a', 3\): give two finite numbers"),
        ({"domain": (-1e39, 1e39)}, ValueError, "is too far out for float32: narrow it"),
        ({"domain": (-3e38, 3e38), "size": 3}, ValueError, "is too far out for float32"),
        ({"domain": (1e5, 2e5), "dtype": "float16"}, ValueError, "is too far out for float16"),
        ({"calibration": np.ones(3)}, TypeError, "a cupylut.Calibration, not ndarray"),
        ({"kind": ["linear"]}, ValueError, r"kind=\['linear'\]: choose one of direct"),
        ({"error": "small"}, ValueError, "error='small': give a positive number"),
        ({"error": np.nan}, ValueError, "error=nan: give a positive number"),
        ({"error": True}, ValueError, "error=True: give a positive number"),
        ({"dtype": None}, ValueError, "no tables for dtype None: choose one of"),
        ({"nodes": "random"}, ValueError, "plain, balanced"),
        ({"function": np.tanh}, ValueError, "both tails"),
        (
            {"function": np.sqrt, "left": 0.0, "right": "identity", "domain": (-1.0, 1.0)},
            ValueError,
            r"sqrt\(-1\) is not finite",
        ),
    ],
)
def test_bad_input(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tabulate(**{"function": "gelu"} | arguments)


@pytest.mark.parametrize("result", [None, 0.5, np.zeros(2)], ids=["None", "0.5", "zeros"])
@pytest.mark.parametrize("domain", [None, (-1, 1)])
def test_a_callable_that_returns_no_number_for_each_element(result, domain) -> None:
    with pytest.raises(TypeError, match="give a function that returns a real number for each"):
        tabulate(lambda _: result, domain=domain, left=0.5, right=0.5)


def test_a_callable_may_work_in_place() -> None:
    def softsign(x: np.ndarray) -> np.ndarray:
        divisor = 1 + np.abs(x)
        x /= divisor
        return x

    def relu(x: np.ndarray) -> np.ndarray:
        x[x < 0] = 0
        return x

    x = np.linspace(-9, 9, 1001, dtype=np.float32)
    for nodes in ("plain", "balanced"):
        y = tabulate(softsign, size=999, domain=(-10, 10), nodes=nodes, left=-1.0, right=1.0)(x)
        np.testing.assert_allclose(y, x / (1 + np.abs(x)), atol=1e-4)
    for table in (
        tabulate(softsign, left=-1.0, right=1.0),
        tabulate(relu, left=0.0, right="identity"),
    ):
        exact = x / (1 + np.abs(x)) if table.name == "softsign" else np.maximum(x, 0)
        np.testing.assert_allclose(table(x), exact, rtol=3e-7)


def test_a_callable_may_return_what_it_keeps() -> None:
    """It is neither written to nor made read-only, and need not be writable."""
    kept = np.full(65, 2.0)

    def constant(x: np.ndarray) -> np.ndarray:
        return kept if x.size == kept.size else np.broadcast_to(2.0, x.shape)

    for size in (65, 66):
        for nodes in ("plain", "balanced"):
            tabulate(constant, size=size, domain=(-1, 1), nodes=nodes, left=2.0, right=2.0)
    kept += 1
    assert (kept == 3).all()


@pytest.mark.parametrize("kind", ["direct", "polynomial", "linear"])
@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            lambda x: 1 + np.tanh(x),
            r"own\(-.*\) = .*, which is \+1 beside the left tail",
        ),
        (lambda x: np.where(abs(x) > 1.5, np.nan, x), r"own\(-.*\) is (NaN|not finite)"),
        (lambda x: np.where(x == -1, np.inf, np.tanh(x)), r"own\(-1\) is not finite"),
    ],
)
def test_bad_functions_are_refused_by_name_and_place(kind: str, reference, message: str) -> None:
    def own(x: np.ndarray) -> np.ndarray:
        return reference(x)

    with pytest.raises(ValueError, match=message):
        tabulate(own, "float16" if kind == "direct" else "float32", kind=kind, left=-1.0, right=1.0)


def test_a_callable_may_know_more_than_float64() -> None:
    """Then results of 16 bits are rounded once; 1.5·x·σ(x) is just below a tie in float64."""

    def eswish(x: np.ndarray) -> np.ndarray:
        return 1.5 * x / (1 + np.exp(-x))

    x = np.array([36.90625], np.float16)
    assert tabulate(eswish, "float16", left=0, right=Tail(1.5, 0))(x) == [55.375]
    if np.finfo(np.longdouble).nmant > 60:
        table = tabulate(
            lambda x: eswish(x.astype(np.longdouble)), "float16", left=0, right=Tail(1.5, 0)
        )
        assert table(x) == [55.34375]

    def fractions(x: np.ndarray) -> np.ndarray:
        below = Fraction(1) - Fraction(1, 2**70)
        return np.array([Fraction(number) * below for number in x.tolist()], object)

    third = np.array([1 + 2.0**-10 + 2.0**-11])  # in the middle of two float16
    f = Function("own", "", fractions, None, None)
    assert round_to(third, "float16") == [1 + 2.0**-9]
    assert round_to(f(third), "float16") == [1 + 2.0**-10]
    assert round_to(f(-third), "float16") == [-1 - 2.0**-10]


def test_functions_of_ones_own_are_checked_too() -> None:
    with pytest.raises(ValueError, match="beside the left tail, constant 0"):
        tabulate(Function("own", "", np.tanh, 0.0, 1.0), "float16")
    with pytest.raises(ValueError, match="symmetry='mirror': choose one of gate, odd"):
        Function("own", "", np.tanh, -1.0, 1.0, symmetry="mirror")
    for tail in (np.inf, "line", "1", b"1", 1j, 10**400, object(), [0.5], Tail(0, np.inf)):
        with pytest.raises(ValueError, match="is not a tail: give a finite number"):
            Function("own", "", np.tanh, -1.0, tail)
    assert Function("own", "", np.tanh, -1, "identity").tails == (Tail(0.0, -1.0), Tail(1.0, 0.0))


def test_the_report_sees_what_is_far_beyond_the_domain() -> None:
    report = tabulate("gelu", domain=(-1e-12, 1e-12)).report
    assert report.max_abs == pytest.approx(0.17, rel=0.01)
    assert report.max_abs_at == pytest.approx(-0.75, rel=0.2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tables_are_made_whatever_numpy_is_told_to_raise(dtype: str) -> None:
    """Underflows are theirs, not the caller's."""
    with np.errstate(all="raise"):
        for name in ("gelu", "elu"):
            tabulate(name, dtype)
            tabulate(name, dtype, size=99)
        tabulate("elu", dtype, error=0.01)


def test_other_searches_and_tables_are_made_whatever_numpy_is_told_to_raise() -> None:
    with np.errstate(all="raise"):
        cupylut.search("gelu", 99, norm="mean")
        cupylut.quantized("gelu", "int8", "int8")
        cupylut.quantized("elu", "float8_e4m3fn", "float16")
        cupylut.quantized("elu", "bfloat16", "float8_e5m2", scale=0.05, out_scale=0.02)


def test_dtypes_must_match(table: cupylut.Table) -> None:
    with pytest.raises(TypeError, match="this table is for float32 and the input gives float64"):
        table(np.zeros(3))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_save_and_load(name: str, dtype: str, tmp_path) -> None:
    table = tabulate(name, dtype, size=33, nodes="balanced")
    path = tmp_path / "any name"
    table.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["any name"]
    same_table(load(path), table)


def same_table(a: cupylut.Table, b: cupylut.Table) -> None:
    assert repr(a) == repr(b)
    assert a.report == b.report
    assert a.parameters == b.parameters
    assert a.entries.tobytes() == b.entries.tobytes()
    x = np.linspace(-9, 9, 999).astype(b.dtype)
    assert a(x).tobytes() == b(x).tobytes()


def test_pickle_and_copy(table: cupylut.Table) -> None:
    table(np.zeros(3, np.float32))  # warm caches must not matter
    for twin in (pickle.loads(pickle.dumps(table)), copy.copy(table), copy.deepcopy(table)):
        same_table(twin, table)
        assert not twin.values.flags.writeable


def test_a_file_is_as_large_as_its_values(tmp_path) -> None:
    for name, dtype, size in (("gelu", "float16", 65536 * 2), ("mish", "float32", 7200)):
        tabulate(name, dtype).save(tmp_path / "table.npz")
        assert size < (tmp_path / "table.npz").stat().st_size < size + 6000


def damage_nothing_left(content: bytes) -> bytes:
    return content[: len(content) // 2]


def damage_one_byte(content: bytes) -> bytes:
    # In the middle of the stored values.
    at = content.index(b"values.npy") + 400
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def foreign_npz(_: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.zeros(3))
    return buffer.getvalue()


def rewritten(**changes: object):
    """A file whose checksum is right for fields that are not."""

    def rewrite(content: bytes) -> bytes:
        with np.load(io.BytesIO(content)) as archive:
            fields, values = json.loads(str(archive["header"])), archive["values"]
        header = json.dumps(fields | changes)
        buffer = io.BytesIO()
        digest = table_file._digest(header, values)
        np.savez(buffer, header=header, values=values, sha256=digest)
        return buffer.getvalue()

    return rewrite


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_nothing_left, "not an intact table file"),
        (damage_one_byte, "not an intact table file"),
        (lambda _: b"", "not an intact table file"),
        (lambda _: b"PK\x03\x04 not really", "not an intact table file"),
        (lambda _: pickle.dumps({"a": 1}), r"not an intact table file \(it is no .npz archive\)"),
        (foreign_npz, "not an intact table file"),
        (rewritten(format="cupylut table 99"), "this version reads 'cupylut table 4'"),
        (rewritten(kind="cubic"), "no table of a known kind"),
        (rewritten(lo=9.0), "lower one first"),
        (rewritten(nodes="random"), "plain, balanced"),
        (rewritten(dtype="int8"), "no tables for dtype"),
        (rewritten(report={}), "no table of a known kind"),
    ],
)
def test_damaged_and_foreign_files(table: cupylut.Table, tmp_path, damage, message: str) -> None:
    path = tmp_path / "table.npz"
    table.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")


def test_pytorchs_dtypes_are_understood() -> None:
    torch = pytest.importorskip("torch")
    assert tabulate("gelu", torch.bfloat16).dtype == tabulate("gelu", "bfloat16").dtype
    with pytest.raises(ValueError, match=r"no tables for dtype torch\.int64: choose one of"):
        tabulate("gelu", torch.int64)


@pytest.mark.parametrize(
    ("function", "dtype", "options"),
    [
        ("gelu", "bfloat16", {}),
        ("gelu", "float16", {"kind": "full"}),
        ("gelu", "float16", {"kind": "compact"}),
        ("gelu", "float32", {}),
        ("mish", "float32", {}),
        ("gelu", "float32", {"size": 64}),
        ("gelu", "int8", {"out_dtype": "bfloat16"}),
        ("gelu", "float16", {"out_dtype": "int8"}),
    ],
)
def test_entries_are_read_only_also_when_loaded(
    function: str, dtype: str, options: dict, tmp_path
) -> None:
    make = cupylut.quantized if "out_dtype" in options else tabulate
    table = make(function, dtype, **options)
    table.save(tmp_path / "table")
    for each in (table, cupylut.load(tmp_path / "table"), pickle.loads(pickle.dumps(table))):
        with pytest.raises(ValueError, match="read-only"):
            each.entries[0] = each.entries[1]
