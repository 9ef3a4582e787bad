"""Activations from the literature that the library does not have, as functions of the user.

In float32, where what a function is like decides whether there is a table; 16 bits take any.
"""

from collections.abc import Callable
from typing import Any

import host_cuda
import numpy as np
import pytest
from samples import evaluate
from scipy.special import erf, expit, log_expit, ndtr
from test_polynomial import errors, inputs

from cupylut import PolynomialTable, Tail, tabulate
from cupylut.names import as_function

pytestmark = pytest.mark.exhaustive

IDENTITY = "identity"


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


# Their reference and tails. Kinks lie at round numbers.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "abs": (np.abs, Tail(-1, 0), IDENTITY),
    "arctan": (np.arctan, -np.pi / 2, np.pi / 2),
    "bent identity": (lambda x: (np.hypot(x, 1) - 1) / 2 + x, Tail(0.5, -0.5), Tail(1.5, -0.5)),
    "celu": (lambda x: np.where(x > 0, x, 2 * np.expm1(np.minimum(x, 0) / 2)), -2, IDENTITY),
    "cloglog": (lambda x: -np.expm1(-np.exp(np.minimum(x, 700))), 0, 1),
    "colu": (lambda x: x / (1 - x * np.exp(-(x + np.exp(np.minimum(x, 700))))), 0, IDENTITY),
    "elish": (lambda x: elu(x) * expit(x), 0, IDENTITY),
    "erf": (erf, -1, 1),
    "eswish": (lambda x: 1.5 * x * expit(x), 0, Tail(1.5, 0)),
    "exp of min": (lambda x: np.exp(np.minimum(x, 0)), 0, 1),
    "gaussian": (lambda x: np.exp(-x * x), 0, 0),
    "gelu of clip": (lambda x: np.minimum(x, 7) * ndtr(np.minimum(x, 7)), 0, 7 * ndtr(7)),
    "gelu shifted": (lambda x: x * ndtr(x - 2), 0, IDENTITY),
    "hardelish": (lambda x: elu(x) * np.clip((x + 1) / 2, 0, 1), 0, IDENTITY),
    "hardshrink": (lambda x: np.where(np.abs(x) > 0.5, x, 0), IDENTITY, IDENTITY),
    "hardsigmoid": (lambda x: np.clip(x / 6 + 0.5, 0, 1), 0, 1),
    "hardtanh": (lambda x: np.clip(x, -1, 1), -1, 1),
    "isrlu": (lambda x: np.where(x >= 0, x, x / np.sqrt(1 + x * x)), -1, IDENTITY),
    "isru": (lambda x: x / np.sqrt(1 + x * x), -1, 1),
    "lisht": (lambda x: x * np.tanh(x), Tail(-1, 0), IDENTITY),
    "logish": (lambda x: x * np.log1p(expit(x)), 0, Tail(np.log(2), 0)),
    "logsigmoid": (log_expit, IDENTITY, 0),
    "phish": (lambda x: x * np.tanh(x * ndtr(x)), 0, IDENTITY),
    "prelu": (lambda x: np.where(x > 0, x, 0.25 * x), Tail(0.25, 0), IDENTITY),
    "relu6": (lambda x: np.clip(x, 0, 6), 0, 6),
    "sech": (lambda x: 1 / np.cosh(np.clip(x, -700, 700)), 0, 0),
    "serf": (lambda x: x * erf(softplus(x)), 0, IDENTITY),
    "smish": (lambda x: x * np.tanh(np.log1p(expit(x))), 0, Tail(0.6, 0)),
    "softcap": (lambda x: 30 * np.tanh(x / 30), -30, 30),
    "softplus shifted": (lambda x: softplus(x - 2), 0, Tail(1, -2)),
    "softplus less its value at 0": (lambda x: softplus(x) - np.log(2), -np.log(2),
                                     Tail(1, -np.log(2))),
    "softplus steep": (lambda x: softplus(20 * x) / 20, 0, IDENTITY),
    "softshrink": (lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), Tail(1, 0.5),
                   Tail(1, -0.5)),
    "softsign": (lambda x: x / (1 + np.abs(x)), -1, 1),
    "squareplus": (lambda x: np.where(x > 0, (x + np.hypot(x, 2)) / 2, 2 / (np.hypot(x, 2) - x)),
                   0, IDENTITY),
    "swish": (lambda x: x * expit(0.5 * x), 0, IDENTITY),
    "swish of clip": (lambda x: np.minimum(x, 7) * expit(1.702 * np.minimum(x, 7)), 0,
                      7 * expit(1.702 * 7)),
    "swish shifted": (lambda x: x * expit(x - 1), 0, IDENTITY),
    "swish with a square": (lambda x: x * expit(x) ** 2, 0, IDENTITY),
    "tanhexp": (lambda x: x * np.tanh(np.exp(np.minimum(x, 700))), 0, IDENTITY),
    "window": (lambda x: np.where(np.abs(x) < 1, np.cos(np.pi * np.clip(x, -1, 1) / 2) ** 2, 0),
               0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_within_two_ulp(name: str, compiler: str) -> None:
    reference, left, right = FUNCTIONS[name]
    f = as_function(reference, left, right)
    table = tabulate(f, "float32")
    assert isinstance(table, PolynomialTable)
    x = inputs(table)
    beyond = x[(x < table.domain[0]) | (x > table.domain[1])]
    if beyond.size:
        assert np.abs(evaluate(table, beyond) - f(beyond)).max() <= 1.001 * table.tail_error
    x = x[(x >= table.domain[0]) & (x <= table.domain[1])]
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        assert errors(table, f, x, y).max() <= 2
    print(repr(table))


REFUSED = {
    "two kinks on one side, away from round numbers": (lambda x: np.clip(x, 0.1, 0.37), 0.1, 0.37),
    "a triple zero": (
        lambda x: np.where(np.abs(x) < 0.05, x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315,
                           x - np.tanh(x)), Tail(1, 1), Tail(1, -1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_table_of_two_ulp(name: str) -> None:
    reference, left, right = REFUSED[name]
    with pytest.raises(ValueError, match=r"within 2 ulp of .* is off by"):
        tabulate(reference, "float32", left=left, right=right)
