"""What the activations of a model get for inputs, and tables made for that."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from numpy.typing import DTypeLike
from torch import Tensor, nn
from tqdm import tqdm

from ..calibration import Calibration
from ..declaration import Function
from ..names import as_function
from ..tables import Table
from ..tabulate import tabulate
from .patching import Slot, identity, members


def calibrate(model: nn.Module, batches: Iterable[Any]) -> dict[str, Calibration]:
    """The inputs of every activation that `patch` would replace, while the model runs on batches.

    batches: an iterable of them, no mapping; of each the model is called with ``**batch`` if it is
    a mapping, ``*batch`` if it is a tuple or list, else ``batch``; in evaluation and inference
    mode. A terminal shows the progress.

    Returns a `cupylut.Calibration` for each name, one for all names of a module. Calibrations of
    several runs or processes add up.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.GELU())
    >>> calibrate(model, [torch.randn(16, 4), torch.randn(2, 4)])["1"].count
    144
    """
    if isinstance(batches, Mapping):
        raise TypeError(f"batches is a {type(batches).__name__}: for one batch give [batch]")
    found: dict[str, Calibration] = {}
    shared: dict[int | str, Calibration] = {}
    slots: list[Slot] = []
    hooks = []
    for name, owner, attribute, value, (function, _) in list(members(model)):
        if function is None:
            continue
        place = identity(name, value)
        first = place not in shared
        found[name] = shared.setdefault(place, Calibration())
        if not isinstance(value, nn.Module):
            slots.append(Slot(owner, attribute, value, partial(_counted, found[name], value)))
        elif first:
            count = partial(_count, found[name])
            hooks.append(value.register_forward_pre_hook(count, with_kwargs=True))
    modes = {module: module.training for module in model.modules()}
    try:
        for slot in slots:
            setattr(slot.owner, slot.attribute, slot.after)
        model.eval()
        with torch.inference_mode():
            for batch in tqdm(batches, desc="calibrating", unit="batch", disable=None):
                _run(model, batch)
    finally:
        for slot in slots:
            setattr(slot.owner, slot.attribute, slot.before)
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return found


def _count(
    calibration: Calibration, _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
) -> None:
    calibration.update(*args, *kwargs.values())


def _counted(
    calibration: Calibration, function: Any, input: Tensor, *args: Any, **kwargs: Any
) -> Any:
    calibration.update(input)
    return function(input, *args, **kwargs)


def _run(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    else:
        model(*(batch if isinstance(batch, tuple | list) else (batch,)))


def linear_tables(
    model: nn.Module,
    calibrations: Mapping[str, Calibration],
    dtype: DTypeLike = "float32",
    size: int = 1024,
) -> dict[str, Table]:
    """For each activation the linear table with the smallest mean error on its own inputs.

    Where that table would jump by more than 0.02 at an end of its domain, to the tail beyond which
    the next input may lie, it is the one with the smallest largest error.

    calibrations: by name, as `calibrate` gives them; without inputs, as of an activation that was
    not reached, they make no table. dtype: of the activations while the model runs. size: nodes.

    >>> import cupylut
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.GELU())
    >>> calibration = Calibration(torch.linspace(-4, 4, 1000))
    >>> tables = linear_tables(model, {"1": calibration}, size=256)
    >>> with torch.no_grad(), cupylut.transformers.patched(model, tables) as handle:
    ...     print(model[1])
    Lookup(LinearTable(gelu, float32, 256 nodes on [-4, 4]))
    """
    tables: dict[str, Table] = {}
    for name, *_, (function, _reason) in members(model):
        if function is None or name not in calibrations or not calibrations[name].count:
            continue
        linear = partial(tabulate, function, dtype, kind="linear", size=size)
        tables[name] = linear(calibration=calibrations[name])
        if _jump(as_function(function), tables[name]) > _LARGEST_JUMP:
            tables[name] = linear()
    return tables


_LARGEST_JUMP = 0.02  # the paper's tables have 0.015 (gelu), 0.014 (tanh form) and 0.095 (silu)


def _jump(f: Function, table: Any) -> float:
    """By how much a linear table jumps at an end of its domain, to the tail that is beyond."""
    left, right = f.tails
    ends = (table.lo, left), (table.hi, right)
    return max(abs(float(f(end)) - float(tail(end))) for end, tail in ends)
