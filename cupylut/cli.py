"""The command line: `python -m cupylut demo`, `reproduce`, `report`, `bench` and the rest."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

import cupylut

from .benchmarks import accuracy, bandwidth, counters, performance, picture, roofline
from .paper import demo, pictures, report, reproduce, summary, table1
from .tables.linear import check_layout

T = TypeVar("T")

_EXTRAS = {"tqdm": "progress bar", "matplotlib": "picture"}


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and leaves the usage to --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help says more)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    parser = _Parser(prog="python -m cupylut", description="Activation functions by lookup table.")
    parser.add_argument("--version", action="version", version=f"cupylut {cupylut.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("demo", help="redo the paper's Table 1 on this machine")
    command.add_argument(
        "--input",
        type=_inputs,
        metavar="FILE.npy",
        help="inputs of your model instead of the ones that come with the library",
    )
    command.add_argument(
        "--plot",
        type=_new_png,
        default=Path("cupylut-demo.png"),
        metavar="FILE.png",
        help="where to draw the errors (default: %(default)s)",
    )
    command.add_argument(
        "--size", type=_size, default=1024, help="nodes of a table (default: %(default)s)"
    )
    command.set_defaults(run=_demo)

    command = commands.add_parser("reproduce", help="redo the paper's experiments on this machine")
    command.add_argument("part", choices=[*reproduce.PARTS, "all"], help="of the paper")
    command.add_argument(
        "--device", choices=[*reproduce.SETTINGS], default="cpu", help="(default: %(default)s)"
    )
    command.add_argument(
        "--json", type=_new_file, metavar="FILE", help="write the figures to a file"
    )
    command.add_argument(
        "--seconds", type=_seconds, help="for the times of all parts, after which rows are left out"
    )
    only = command.add_mutually_exclusive_group()
    only.add_argument(
        "--errors-only", action="store_true", help="no times: for a machine that is busy"
    )
    only.add_argument(
        "--times-only", action="store_true", help="no errors and losses, which need no GPU"
    )
    command.add_argument("--plot", type=_new_png, metavar="FILE.png", help="draw them")
    command.set_defaults(run=_reproduce)

    command = commands.add_parser("report", help="make a page of HTML from results of reproduce")
    command.add_argument("results", type=_results, metavar="FILE.json", help="of reproduce --json")
    command.add_argument(
        "--output",
        type=_new_file,
        default=Path("cupylut-report.html"),
        metavar="FILE.html",
        help="(default: %(default)s)",
    )
    command.set_defaults(run=_report)

    command = commands.add_parser("bench", help="time the tables against everybody else")
    command.add_argument(
        "what",
        nargs="?",
        choices=[*_BENCHES],
        default="bandwidth",
        help="bandwidth: every kind, and its rivals, against a copy of the same bytes; counters: "
        "what the hardware counts in the kernels, by ncu (default: %(default)s)",
    )
    command.add_argument(
        "--device",
        choices=[*bandwidth.SETTINGS],
        help="of bandwidth (default: cuda; cpu needs no GPU)",
    )
    command.add_argument("--seconds", type=_seconds, help="of bandwidth, after which it ends")
    command.add_argument(
        "--json", type=_new_file, metavar="FILE", help="write the figures to a file"
    )
    command.add_argument(
        "--plot", type=_new_png, metavar="FILE.png", help="draw those of bandwidth"
    )
    command.set_defaults(run=_bench)

    command = commands.add_parser("accuracy", help="measure every table: docs/accuracy.md")
    command.add_argument("--output", type=_new_file, metavar="FILE", help="write it to a file")
    command.set_defaults(run=_accuracy)

    command = commands.add_parser("model", help="predict the kernels' speed on a GPU")
    command.add_argument(
        "--gpu", choices=[*roofline.CARDS], default="h100", help="(default: %(default)s)"
    )
    command.add_argument(
        "--json", type=_new_file, metavar="FILE", help="write the figures to a file"
    )
    command.add_argument(
        "--markdown", type=_new_file, metavar="FILE", help="write docs/performance.md, of all GPUs"
    )
    command.set_defaults(run=_model)

    parsed = parser.parse_args(arguments)
    status: int = parsed.run(parsed)
    return status


def _demo(arguments: argparse.Namespace) -> int:
    inputs = arguments.input or demo.default_inputs()
    comparisons = [demo.compare(f, arguments.size, inputs) for f in _progress(table1.TABLE1)]
    print(demo.report(comparisons, inputs))
    if find_spec("matplotlib"):
        _draw(arguments.plot, pictures.demo_errors, comparisons, inputs)
    lacking = [name for module, name in _EXTRAS.items() if not find_spec(module)]
    if lacking:
        _say(f"No {' and no '.join(lacking)}: pip install 'cupylut[plot]'")
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    if arguments.plot and _lacks_matplotlib("--plot"):
        return 2
    parts = reproduce.PARTS if arguments.part == "all" else [arguments.part]
    settings = reproduce.SETTINGS[arguments.device].within(arguments.seconds)
    if arguments.errors_only:
        parts = [part for part in parts if part == "table1"]
        settings = replace(settings, tokens=())
    if arguments.times_only:
        settings = replace(settings, sizes=(), training_steps=0)
    if not parts:
        _say(f"{arguments.part} has no errors, only times: leave --errors-only out")
        return 2
    try:
        record = reproduce.run(parts, settings, _progress)
    except RuntimeError as error:
        _say(str(error))
        return 2
    status = _write_record(arguments.json, record)
    print(summary.as_text(record))
    if status:
        return status
    if arguments.plot and (status := _draw(arguments.plot, pictures.png, record)):
        return status
    return 0 if all(part in record for part in parts) else 1


def _report(arguments: argparse.Namespace) -> int:
    if _lacks_matplotlib("a report"):
        return 2
    return _write(arguments.output, report.page(arguments.results))


def _bench(arguments: argparse.Namespace) -> int:
    for option in ("device", "seconds", "plot"):
        if arguments.what != "bandwidth" and getattr(arguments, option) is not None:
            _say(f"--{option} is for bench bandwidth: leave it out")
            return 2
    try:
        return _BENCHES[arguments.what](arguments)
    except RuntimeError as error:  # no such device
        _say(str(error))
        if arguments.what == "bandwidth":
            _say("bench bandwidth --device cpu needs no GPU")
        return 2


def _bench_bandwidth(arguments: argparse.Namespace) -> int:
    if arguments.plot and _lacks_matplotlib("--plot"):
        return 2
    settings = bandwidth.SETTINGS[arguments.device or "cuda"].within(arguments.seconds)
    record = bandwidth.run(settings, _progress)
    status = _write_record(arguments.json, record)
    print("\n".join(bandwidth.report(record)))
    if status or not record["cells"]:
        return status or 1
    return _draw(arguments.plot, picture.fractions, record) if arguments.plot else 0


def _bench_counters(arguments: argparse.Namespace) -> int:
    record = counters.measure()
    status = _write_record(arguments.json, record)
    print("\n".join(counters.report(record)))
    return status


_BENCHES = {"bandwidth": _bench_bandwidth, "counters": _bench_counters}


def _accuracy(arguments: argparse.Namespace) -> int:
    text = accuracy.document([accuracy.measure(*case) for case in _progress(accuracy.cases())])
    if arguments.output:
        return _write(arguments.output, text)
    print(text, end="")
    return 0


def _model(arguments: argparse.Namespace) -> int:
    card = roofline.CARDS[arguments.gpu]
    if arguments.markdown and (status := _write(arguments.markdown, performance.document())):
        return status
    if not arguments.markdown:
        print("\n".join(roofline.report(card)))
    return _write(arguments.json, roofline.as_json(card)) if arguments.json else 0


def _lacks_matplotlib(what: str) -> bool:
    """Whether it is not there; then what needs it is said."""
    if find_spec("matplotlib"):
        return False
    _say(f"{what} needs matplotlib: pip install 'cupylut[plot]'")
    return True


def _draw(path: Path, draw: Callable[..., None], *what: Any) -> int:
    try:
        draw(path, *what)
    except OSError as error:
        _say(f"No picture: {_unwritable(path, error)}; try another --plot")
        return 2
    print(f"Picture: {path.resolve()}")
    return 0


def _write_record(path: Path | None, record: dict[str, Any]) -> int:
    """Into a file, if one is given: before anything is made of it, so that it cannot be lost."""
    return _write(path, json.dumps(record, indent=1) + "\n") if path else 0


def _write(path: Path, text: str) -> int:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        _say(f"{_unwritable(path, error)}; try another file")
        return 2
    print(f"Written: {path.resolve()}")
    return 0


def _progress(items: Iterable[T]) -> Iterable[T]:
    """The items, with a bar on a terminal while they are worked on."""
    if not find_spec("tqdm"):
        return items
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(items, leave=False, disable=None)
    return bar


def _unwritable(path: Path, error: OSError) -> str:
    return f"{path} cannot be written: {error.strerror or error}"


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _inputs(path: str) -> demo.Inputs:
    """The finite numbers of a .npy file."""
    try:
        with open(path, "rb") as file:
            array = np.load(file, allow_pickle=False)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{path!r} cannot be read ({error.strerror or error}); give a .npy file"
        ) from error
    except Exception as error:  # whatever the reader makes of bytes that are something else
        raise argparse.ArgumentTypeError(
            f"{path!r} is no intact .npy file of numbers (objects are not read); "
            "write one with numpy.save"
        ) from error
    if not isinstance(array, np.ndarray):
        raise argparse.ArgumentTypeError(
            f"{path!r} is an archive; save one of its arrays with numpy.save and give that"
        )
    if array.dtype.kind not in "iuf":
        raise argparse.ArgumentTypeError(
            f"{path!r} holds {array.dtype}, not real numbers, or what a .npy file has no word for, "
            "such as bfloat16; save what .astype('float32') makes of it"
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32).ravel()
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise argparse.ArgumentTypeError(
            f"{path!r} holds no finite number (shape {array.shape}); give an array that has some"
        )
    dropped = values.size - finite.size
    note = f" ({dropped:,} not finite left out)" if dropped else ""
    return demo.Inputs(f"{finite.size:,} values of {path}{note}", finite)


def _results(path: str) -> dict[str, Any]:
    """The record in a file of results."""
    try:
        return reproduce.read(Path(path).read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{path!r} cannot be read ({error.strerror or error}); give a file of reproduce --json"
        ) from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{path!r} holds {error}") from error


def _new_png(path: str) -> Path:
    if not path.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"{path!r} is no picture; give a name that ends in .png")
    return _new_file(path)


def _new_file(path: str) -> Path:
    """A file that can be written to: better said before minutes of measuring than after."""
    found = Path(path)
    if not found.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path!r}: there is no folder {str(found.parent)!r}")
    if os.path.isdir(found):
        raise argparse.ArgumentTypeError(f"{path!r} is a folder; give the name of a file")
    if not os.access(found if os.path.exists(found) else found.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path!r} may not be written; try another file")
    return found


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if (seconds := float(text)) > 0:
            return seconds
    raise argparse.ArgumentTypeError(f"{text}: give a positive number")


def _size(text: str) -> int:
    try:
        size = int(text)
        check_layout(0.0, 1.0, size, "plain")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return size
