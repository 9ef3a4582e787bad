"""PyTorch's machinery around the functions: transforms, compilers, modes, modules."""

import copy
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch  # noqa: TID251
from test_first_use import run
from torch import Tensor  # noqa: TID251
from torch._dynamo import compiled_autograd  # noqa: TID251
from torch._dynamo.testing import CompileCounter  # noqa: TID251
from torch.autograd import forward_ad  # noqa: TID251
from torch.nn import functional  # noqa: TID251
from torch_samples import (
    GATED,
    ORACLES,
    activation,
    by_name,
    close,
    gate_of,
    numbers,
    product,
    product_gradient,
)

import cupylut
import cupylut.torch
from cupylut.torch import dispatch

# Of torch.jit inside torch.func.jvp: a DeprecationWarning, since PyTorch 2.14 a FutureWarning.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")

# ---- forward mode and torch.func ----------------------------------------------------------------


@by_name
def test_forward_mode(name: str) -> None:
    x, dx = numbers(5), numbers(5) / 3
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, dx)
        ours, theirs = (forward_ad.unpack_dual(f(dual)) for f in (getattr(cupylut, name),
                                                                  ORACLES[name]))  # fmt: skip
    assert close(ours.primal, theirs.primal)
    assert close(ours.tangent, theirs.tangent, 1e-2)


def transforms() -> dict[str, Callable[..., Any]]:
    func = torch.func
    return {
        "grad": lambda f: func.vmap(func.grad(f)),
        "jvp": lambda f: lambda x: func.jvp(f, (x,), (x + 1,)),
        "vjp": lambda f: lambda x: func.vjp(f, x)[1](x + 1)[0],
        "vmap": func.vmap,
        "vmap of columns": lambda f: lambda x: func.vmap(f, 1, 1)(x.reshape(2, -1)),
        "jacrev": func.jacrev,
        "jacfwd": func.jacfwd,
        "linearize": lambda f: lambda x: func.linearize(f, x)[1](x + 1),
        "functionalize": func.functionalize,
    }


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # linearize, of itself
@pytest.mark.parametrize("transform", transforms())
@by_name
def test_transforms(transform: str, name: str) -> None:
    x = numbers(6)
    ours, theirs = (transforms()[transform](f)(x) for f in (getattr(cupylut, name), ORACLES[name]))
    for a, b in zip(torch.utils._pytree.tree_leaves(ours), torch.utils._pytree.tree_leaves(theirs),
                    strict=True):  # fmt: skip
        assert close(a, b, 1e-2)


@pytest.mark.parametrize("outer", ["grad", "jvp"])
@pytest.mark.parametrize("inner", ["grad", "jvp"])
@pytest.mark.parametrize("gate_first", [False, True])
def test_nested_transforms_lose_no_derivative(outer: str, inner: str, gate_first: bool) -> None:
    """d²/dx dz of f(x)·z in either order is f′(x)."""

    def derivative(mode: str, f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        if mode == "grad":
            return torch.func.grad(f)(at)
        return torch.func.jvp(f, (at,), (torch.ones_like(at),))[1]

    def mixed(x: Tensor, z: Tensor) -> Tensor:
        if gate_first:
            return derivative(
                outer,
                lambda z: derivative(inner, lambda x: product(x, z, "silu"), x), z)  # fmt: skip
        return derivative(
            outer,
            lambda x: derivative(inner, lambda z: product(x, z, "silu"), z), x)  # fmt: skip

    x, z = numbers(5), numbers(5)
    want = torch.func.vmap(torch.func.grad(functional.silu))(x)
    assert close(torch.func.vmap(mixed)(x, z), want, 1e-2)


def test_vmap_of_gated_forms_over_any_dimensions() -> None:
    x, z = numbers(2, 3), numbers(3, 2)
    f, g = gate_of("gelu gate"), GATED["gelu gate"]
    for dims, out, gates, ups in (
        ((0, 1), 0, x, z),
        ((1, 0), 1, x, z),
        ((1, None), 1, x, z[0]),
        ((None, 0), 0, x[0], z.reshape(2, 3)),
    ):
        ours, theirs = (torch.func.vmap(h, dims, out)(gates, ups) for h in (f, g))
        assert close(ours, theirs)
    z = z[0]
    both = torch.func.vmap(torch.func.grad(lambda a, b: f(a, b).sum(), (0, 1)), (1, None))
    want = torch.func.vmap(torch.func.grad(lambda a, b: g(a, b).sum(), (0, 1)), (1, None))
    for a, b in zip(both(x, z), want(x, z), strict=True):
        assert close(a, b, 1e-2)


# ---- compilers ----------------------------------------------------------------------------------


class Block(torch.nn.Module):  # type: ignore[misc]
    """All that is here, in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(4, 8)
        self.act, self.gate = cupylut.torch.GELU("tanh"), cupylut.torch.SwiGLU()

    def forward(self, x: Tensor) -> Tensor:
        return cupylut.gelu(self.gate(self.first(x), self.act(self.second(x)))) + cupylut.elu(
            x.sum()
        )


def gradients(model: torch.nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    y = model(x)
    return y, *torch.autograd.grad(y.sum(), [x, *model.parameters()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compile_keeps_one_graph_and_every_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = Block().to(dtype)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for rows in (3, 5):
        x = numbers(rows, 4, dtype=dtype, grad=True)
        for a, b in zip(gradients(compiled, x), gradients(model, x), strict=True):
            assert torch.equal(a, b)


def test_inductor_calls_the_operators() -> None:
    """With nothing around them that would take a C++ compiler."""
    torch._dynamo.reset()

    def f(x: Tensor, z: Tensor) -> Tensor:
        return product(cupylut.gelu(x.T), z, "silu")

    x, z = numbers(4, 3, dtype=torch.bfloat16, grad=True), numbers(3, 4, dtype=torch.bfloat16)
    ours, want = torch.compile(f, backend="inductor", fullgraph=True)(x, z), f(x, z)
    assert torch.equal(ours, want)
    assert ours.stride() == want.stride()
    upstream = torch.ones_like(want)
    assert torch.equal(*(torch.autograd.grad(y, x, upstream)[0] for y in (ours, want)))


@pytest.mark.parametrize("transform", ["grad", "jvp", "vmap"])
def test_compiled_transforms(transform: str) -> None:
    torch._dynamo.reset()
    f = transforms()[transform](cupylut.silu)
    x = numbers(6)
    ours, want = torch.compile(f, backend="aot_eager", fullgraph=True)(x), f(x)
    for a, b in zip(torch.utils._pytree.tree_leaves(ours), torch.utils._pytree.tree_leaves(want),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)


def test_the_compiled_backward_pass_is_one_operator() -> None:
    """Both gradients of a gated form come from the fused operator."""
    torch._dynamo.reset()
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return torch._functorch.aot_autograd.make_boxed_func(graph)

    backend = torch._dynamo.backends.common.aot_autograd(fw_compiler=keep)
    x, z = numbers(5, grad=True), numbers(5, grad=True)
    torch.compile(gate_of("silu"), backend=backend, fullgraph=True)(x, z).sum().backward()
    targets = [
        {node.target for node in graph.graph.nodes if node.op == "call_function"}
        for graph in graphs
    ]
    assert product in targets[0]
    assert product_gradient in targets[1]
    assert product not in targets[1]


def test_the_first_use_may_be_inside_the_compiler() -> None:
    """Which nothing else imports: that takes seconds."""
    code = """
import sys, cupylut, torch
x = torch.ones(3, requires_grad=True)
cupylut.silu(x).sum().backward()
assert "torch._dynamo" not in sys.modules
torch.compile(lambda y: y.backward(), backend="eager")(cupylut.mish(x).sum())
x.grad = None
f = torch.compile(lambda x: cupylut.gelu(x) * 2, backend="aot_eager", fullgraph=True)
f(x).sum().backward()
print(x.grad[0].item() > 2)
"""
    assert run(code, "-W", "ignore:The .grad attribute of a Tensor") == "True"


# Of the compiler, which looks at the .grad of all that it is given.
of_losses = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


# A call of each differentiable operator
CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "activation": cupylut.mish,
    "product": lambda x: cupylut.geglu(x, x),
    "packed": lambda x: cupylut.geglu(x, order="up_gate"),
    "fused": lambda x: cupylut.fused("mish", x, bias=x[0], residual=x),
}


@of_losses
@pytest.mark.parametrize("name", CALLS)
def test_a_backward_pass_inside_a_compiled_function(name: str) -> None:
    """The compiler calls what it finds there, and would trace it if it were let to."""
    torch._dynamo.reset()
    x = numbers(4, 6, grad=True)
    (want,) = torch.autograd.grad(CALLS[name](x).sum(), x)
    counter = CompileCounter()
    torch.compile(lambda y: y.backward(), backend=counter)(CALLS[name](x).sum())
    assert torch.equal(x.grad, want)
    assert counter.frame_count == 0


@of_losses
@pytest.mark.parametrize("name", CALLS)
def test_a_compiled_backward_pass_of_a_call_that_was_not(name: str) -> None:
    torch._dynamo.reset()
    x = numbers(4, 6, grad=True)
    (want,) = torch.autograd.grad(CALLS[name](x).sum(), x)
    y = CALLS[name](x).sum()
    with compiled_autograd._enable(torch.compile(backend="eager", fullgraph=True)):
        y.backward()
    assert torch.equal(x.grad, want)


def test_kernels_inside_a_compiled_function() -> None:
    """Of what the compiler does not see through, as here of a traced module."""
    torch._dynamo.reset()
    traced = torch.jit.trace(cupylut.torch.Mish(), numbers(3))
    x = numbers(4)
    assert torch.equal(torch.compile(lambda x: traced(x) + 1, backend="eager")(x), traced(x) + 1)


@of_losses
def test_a_checkpoint_inside_a_compiled_function() -> None:
    torch._dynamo.reset()
    x = numbers(4, grad=True)
    y = torch.utils.checkpoint.checkpoint(cupylut.mish, x, use_reentrant=False)
    torch.compile(lambda y: y.backward(), backend="eager")(y.sum())
    assert torch.equal(x.grad, torch.autograd.grad(cupylut.mish(x).sum(), x)[0])


@of_losses
@pytest.mark.parametrize("known", [True, False])
def test_untraced(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not a release of PyTorch has what it is made with."""
    torch._dynamo.reset()
    if not known:
        monkeypatch.setitem(sys.modules, "torch._C._dynamo.eval_frame", None)
    seen = []

    def hook(grad: Tensor) -> None:
        seen.append(torch.compiler.is_dynamo_compiling())

    x = numbers(3, grad=True)
    x.register_hook(dispatch.untraced(hook))
    monkeypatch.undo()
    torch.compile(lambda y: y.backward(), backend="eager")((x * 2).sum())
    assert seen == [False]


def test_export_keeps_the_operators_and_reloads() -> None:
    torch.manual_seed(0)
    model = Block()
    x = numbers(3, 4, dtype=torch.float32)
    rows = torch.export.Dim.DYNAMIC
    program = torch.export.export(model, (x,), dynamic_shapes=({0: rows},))
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert targets.count(activation) == 3
    assert targets.count(product) == 1
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    for exported in (program, torch.export.load(file)):
        for t in (x, numbers(7, 4, dtype=torch.float32)):
            assert torch.equal(exported.module()(t), model(t))


def test_symbolic_traces_of_torch_fx() -> None:
    """Each call is one node, that converts operands when it runs."""

    def f(x: Tensor) -> Tensor:
        y = cupylut.swiglu(cupylut.gelu(x), x)
        return cupylut.fused("silu", y, scale=0.5, residual=x) + cupylut.swiglu(x).sum()

    for function in (f, torch.nn.Sequential(cupylut.torch.SwiGLU(), cupylut.torch.Mish())):
        graph = torch.fx.symbolic_trace(function)
        for x in (numbers(3, 4), numbers(5, 6, dtype=torch.bfloat16), torch.arange(4)):
            assert torch.equal(graph(x), function(x))


# ---- modes --------------------------------------------------------------------------------------


def test_autocast_leaves_the_dtype_alone() -> None:
    linear = torch.nn.Linear(4, 4)
    x = numbers(3, 4, dtype=torch.float32, grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = linear(x)
        y, z = cupylut.gelu(hidden), product(hidden, hidden, "silu")
        assert cupylut.gelu(x).dtype == torch.float32
    assert y.dtype == z.dtype == torch.bfloat16
    assert torch.equal(y, cupylut.gelu(hidden))
    (y + z).sum().backward()
    assert x.grad.dtype == torch.float32


def test_inference_mode() -> None:
    x = numbers(3)
    with torch.inference_mode():
        y, z = cupylut.gelu(x), product(x, x, "silu")
    assert y.is_inference()
    assert torch.equal(y, cupylut.gelu(x))
    assert torch.equal(z, product(x, x, "silu"))


# ---- modules ------------------------------------------------------------------------------------

MODULES = {
    "GELU(approximate='none')": (cupylut.torch.GELU(), "gelu"),
    "GELU(approximate='tanh')": (cupylut.torch.GELU("tanh"), "gelu_tanh"),
    "SiLU()": (cupylut.torch.SiLU(), "silu"),
    "Mish()": (cupylut.torch.Mish(), "mish"),
    "QuickGELU()": (cupylut.torch.QuickGELU(), "quick_gelu"),
    "Activation('elu(0.5)')": (cupylut.torch.Activation("elu(0.5)"), "elu(0.5)"),
    "SwiGLU()": (cupylut.torch.SwiGLU(), "silu"),
    "GEGLU(approximate='none')": (cupylut.torch.GEGLU(), "gelu"),
    "GEGLU(approximate='tanh')": (cupylut.torch.GEGLU("tanh"), "gelu_tanh"),
    "Gated('mish')": (cupylut.torch.Gated("mish"), "mish"),
}


@pytest.mark.parametrize("text", MODULES)
def test_modules(text: str) -> None:
    module, key = MODULES[text]
    assert repr(module) == text
    assert not module.state_dict()
    assert not list(module.parameters())
    x, z = numbers(3, 4), numbers(4, 3).T
    gated = isinstance(module, cupylut.torch.Gated)
    arguments, want = ((x, z), product(x, z, key)) if gated else ((x,), activation(x, key))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for twin in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module)),
                 torch.load(file, weights_only=False)):  # fmt: skip
        assert torch.equal(twin(*arguments), want)
        assert repr(twin) == text


def test_modules_of_unknown_functions_are_refused() -> None:
    for make in (cupylut.torch.Activation, cupylut.torch.Gated):
        with pytest.raises(ValueError, match="did you mean 'gelu'"):
            make("gellu")
    for make in (cupylut.torch.GELU, cupylut.torch.GEGLU):
        with pytest.raises(ValueError, match="approximate='erf'"):
            make("erf")
