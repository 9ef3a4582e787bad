"""benchmarks/contestants.py: what is measured is what its name says."""

from functools import partial
from typing import Any

import pytest

from cupylut.benchmarks import contestants
from cupylut.benchmarks.formula import FUNCTIONS


def test_torch_compile_compiles_every_function_and_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of compilations it would go on without a word, as plain PyTorch."""
    torch = pytest.importorskip("torch")
    made: list[str] = []

    def backend(graph: Any, _: Any) -> Any:
        made.append(function)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    contestants.compiled.cache_clear()
    torch._dynamo.reset()
    functions = (*FUNCTIONS, contestants.GATED)
    for function in functions:
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            x = torch.linspace(-3, 3, 64, dtype=dtype).view(8, 8)
            contestants.compiled(function)(*[x] * (2 if function == contestants.GATED else 1))
    contestants.compiled.cache_clear()
    torch._dynamo.reset()
    assert {f: made.count(f) for f in functions} == dict.fromkeys(functions, 3)
