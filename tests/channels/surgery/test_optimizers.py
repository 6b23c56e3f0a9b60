"""Optimizer states: a cut network trains on as the whole one does with what was cut held at 0."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from netdial.channels import optimizers, surgery
from netdial.core.cutting import leaf_shapes
from netdial.core.errors import ConfigError, ShapeError
from netdial.core.plan import Group, Plan, Slot

F64 = torch.float64
Build = Callable[[Any], Optimizer]
ELEMENTWISE: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {"lr": 0.05}),
    "SGD, momentum": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    "SGD, Nesterov": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "Adam": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
    "Adam, AMSGrad": (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}),
    "Adam, foreach": (torch.optim.Adam, {"lr": 0.01, "foreach": True}),
    "Adam, fused": (torch.optim.Adam, {"lr": 0.01, "fused": True}),
    "AdamW": (torch.optim.AdamW, {"lr": 0.01}),
    "AdamW, AMSGrad, fused": (torch.optim.AdamW, {"lr": 0.01, "amsgrad": True, "fused": True}),
    "NAdam": (torch.optim.NAdam, {"lr": 0.01, "weight_decay": 0.01}),
    "RAdam": (torch.optim.RAdam, {"lr": 0.01}),
    "Adamax": (torch.optim.Adamax, {"lr": 0.01}),
    "Adagrad": (torch.optim.Adagrad, {"lr": 0.05, "lr_decay": 0.1}),
    "Adadelta": (torch.optim.Adadelta, {"lr": 1.0}),
    "RMSprop": (torch.optim.RMSprop, {"lr": 0.01}),
    "RMSprop, centred": (torch.optim.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5}),
    "Rprop": (torch.optim.Rprop, {"lr": 0.01}),
    "ASGD": (torch.optim.ASGD, {"lr": 0.05, "t0": 5.0}),
}
WHOLE = {
    "Adafactor": (torch.optim.Adafactor, {"lr": 0.01}),
    "Muon": (torch.optim.Muon, {"lr": 0.01}),
}


def same(count: int) -> tuple[tuple[int, ...], ...]:
    return tuple((c,) for c in range(count))


def dense() -> tuple[nn.Module, list[Group]]:
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    return net, [
        Group("0", tuple(Slot(*s, same(8)) for s in (("0.weight", 0), ("0.bias", 0), ("2.weight", 1)))),
        Group("2", tuple(Slot(*s, same(6)) for s in (("2.weight", 0), ("2.bias", 0), ("4.weight", 1)))),
    ]  # fmt: skip


def convolutional() -> tuple[nn.Module, list[Group]]:
    """Convolution, BatchNorm, depthwise convolution, BatchNorm, dense.

    No bias stands before a BatchNorm: its gradient is 0 but for rounding, which Adam would divide by itself.
    """
    net = nn.Sequential(
        nn.Conv2d(5, 6, 1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 2, groups=6, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    norms = [
        f"{layer}.{name}"
        for layer in (1, 4)
        for name in ("weight", "bias", "running_mean", "running_var")
    ]
    rows = [Slot(name, 0, same(6)) for name in ("0.weight", *norms, "3.weight")]
    columns = Slot("7.weight", 1, tuple(tuple(range(4 * c, 4 * c + 4)) for c in range(6)))
    return net, [Group("0", (*rows, columns))]


NETS = {"dense": (dense, {"0": [1, 2, 6], "2": [0, 3]}), "conv": (convolutional, {"0": [0, 4]})}


def made(net: str) -> tuple[Any, Plan, Tensor, Tensor]:
    torch.manual_seed(0)
    build, removed = NETS[net]
    module, groups = build()
    x = torch.randn(16, 5, 3, 3) if net == "conv" else torch.randn(16, 5)
    plan = Plan.remove(groups, removed, leaf_shapes(module))
    return module.double(), plan, x.double(), torch.randn(16, 3, dtype=F64)


def step(net: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> float:
    optimizer.zero_grad()
    loss = (net(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def hold_at_zero(net: nn.Module, plan: Plan) -> None:
    with torch.no_grad():
        for name, leaf in net.named_parameters():
            leaf.mul_(plan.mask(name, leaf.shape))


def double_of(net: nn.Module, optimizer: Optimizer, build: Build) -> tuple[nn.Module, Optimizer]:
    other = copy.deepcopy(net)
    again = build(other.parameters())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return other, again


@pytest.mark.slow
@pytest.mark.parametrize("net", list(NETS))
@pytest.mark.parametrize("name", list(ELEMENTWISE))
def test_training_a_cut_network_is_training_the_masked_one(name: str, net: str) -> None:
    kind, options = ELEMENTWISE[name]

    def build(parameters: Any) -> Optimizer:
        return kind(parameters, **options)

    module, plan, x, y = made(net)
    optimizer = build(module.parameters())
    for _ in range(3):
        step(module, optimizer, x, y)
    masked, theirs = double_of(module, optimizer, build)
    surgery.apply(plan, module, optimizers=[optimizer])
    hold_at_zero(masked, plan)
    for _ in range(20):
        assert step(module, optimizer, x, y) == pytest.approx(step(masked, theirs, x, y), abs=1e-10)
        hold_at_zero(masked, plan)
    for leaf, tensor in module.state_dict().items():
        assert torch.allclose(tensor, plan.cut(leaf, masked.state_dict()[leaf]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", list(ELEMENTWISE))
def test_states_are_what_survives_and_can_be_saved_and_loaded(name: str) -> None:
    kind, options = ELEMENTWISE[name]
    module, plan, x, y = made("dense")
    optimizer = kind(module.parameters(), **options)
    step(module, optimizer, x, y)
    before = copy.deepcopy(optimizer.state_dict())["state"]
    surgery.apply(plan, module, optimizers=[optimizer])
    for index, (leaf, parameter) in enumerate(module.named_parameters()):
        for key, state in optimizer.state[parameter].items():
            whole = before[index][key]
            alike = isinstance(whole, Tensor) and whole.ndim == parameter.ndim
            expected = plan.cut(leaf, whole) if alike else whole
            assert torch.equal(torch.as_tensor(state), torch.as_tensor(expected)), key
    other, again = double_of(module, optimizer, lambda parameters: kind(parameters, **options))
    for _ in range(3):
        mine = step(module, optimizer, x, y)
        assert mine == pytest.approx(step(other, again, x, y), abs=1e-9)  # NAdam rounds as it loads


def weights(net: nn.Module) -> list[nn.Parameter]:
    return [p for p in net.parameters() if p.ndim == 2]


@pytest.mark.parametrize("name", list(WHOLE))
def test_optimizers_of_whole_tensors_train_on_with_states_of_the_right_shapes(name: str) -> None:
    """Adafactor's means and Muon's orthogonalisation run over a whole tensor, so masked is another path than cut."""
    kind, options = WHOLE[name]
    module, plan, x, y = made("dense")
    optimizer = kind(weights(module), **options)
    for _ in range(3):
        step(module, optimizer, x, y)
    before = {p: copy.deepcopy(dict(optimizer.state[p])) for p in weights(module)}
    leaf_of = {p: leaf for leaf, p in module.named_parameters()}
    surgery.apply(plan, module, optimizers=[optimizer])
    for parameter, states in before.items():
        rows, columns = parameter.shape
        mine = optimizer.state[parameter]
        if name == "Muon":
            expected = plan.cut(leaf_of[parameter], states["momentum_buffer"])
            assert torch.equal(mine["momentum_buffer"], expected)
        else:
            assert (mine["row_var"].shape, mine["col_var"].shape) == ((rows, 1), (1, columns))
            assert mine["step"] == states["step"]
    losses = [step(module, optimizer, x, y) for _ in range(30)]
    assert losses[-1] < losses[0]


def test_factored_states_are_cut_by_their_own_dimension() -> None:
    """A kernel ``[out, in, h, w]``: rows are summed over w, columns over h, and a vector is not factored."""
    layer = nn.Conv2d(4, 5, (2, 3)).double()
    optimizer = torch.optim.Adafactor(layer.parameters(), lr=0.01)
    step(layer, optimizer, torch.randn(2, 4, 2, 3, dtype=F64), torch.zeros(2, 5, 1, 1, dtype=F64))
    weight, bias = (dict(optimizer.state[p]) for p in (layer.weight, layer.bias))
    plan = Plan({"weight": {0: (1, 4), 1: (0, 2, 3)}, "bias": {0: (1, 4)}})
    surgery.apply(plan, layer, optimizers=[optimizer])
    mine = optimizer.state[layer.weight]
    assert torch.equal(mine["row_var"], weight["row_var"][[1, 4]][:, [0, 2, 3]])
    assert torch.equal(mine["col_var"], weight["col_var"][[1, 4]][:, [0, 2, 3]])
    assert (mine["row_var"].shape, mine["col_var"].shape) == ((2, 3, 2, 1), (2, 3, 1, 3))
    assert torch.equal(optimizer.state[layer.bias]["variance"], bias["variance"][[1, 4]])

    flat = nn.Linear(4, 5, bias=False).double()
    optimizer = torch.optim.Adafactor(flat.parameters(), lr=0.01)
    step(flat, optimizer, torch.randn(2, 4, dtype=F64), torch.zeros(2, 5, dtype=F64))
    before = dict(optimizer.state[flat.weight])
    surgery.apply(Plan({"weight": {1: (1, 3)}}), flat, optimizers=[optimizer])
    mine = optimizer.state[flat.weight]
    assert mine["row_var"] is before["row_var"]
    assert torch.equal(mine["col_var"], before["col_var"][:, [1, 3]])


class Lion(Optimizer):
    """A sign optimizer from elsewhere, with one state of the parameter's shape."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.01})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    average = self.state[p].setdefault("average", torch.zeros_like(p))
                    average.lerp_(p.grad, 0.1)
                    p.data.sub_(average.sign(), alpha=group["lr"])


def test_optimizers_that_are_unknown_are_refused_and_can_be_made_known() -> None:
    module, plan, x, y = made("dense")
    optimizer = Lion(module.parameters())
    step(module, optimizer, x, y)
    with pytest.raises(
        ConfigError, match="optimizer Lion is unknown to the surgery; known: ASGD, Adadelta"
    ):
        surgery.apply(plan, module, optimizers=[optimizer])
    optimizers.register_optimizer(Lion, {"average": optimizers.ALIKE})
    surgery.apply(plan, module, optimizers=[optimizer])
    assert optimizer.state[module[0].weight]["average"].shape == (5, 5)
    step(module, optimizer, x, y)


@pytest.mark.parametrize("name", ["LBFGS", "SparseAdam"])
def test_optimizers_that_cannot_be_cut_are_refused(name: str) -> None:
    module, plan, _, _ = made("dense")
    with pytest.raises(ConfigError, match=f"optimizer {name} is unknown to the surgery"):
        surgery.apply(plan, module, optimizers=[getattr(torch.optim, name)(module.parameters())])


class Shampooed(torch.optim.SGD):
    """Keeps a preconditioner that has the shape of a square weight by accident."""


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("left", torch.zeros(8, 8), ConfigError, r"state 'left' of 0.weight, a tensor \[8, 8\], is unknown"),
        ("left", [1], ConfigError, "optimizer Shampooed: state 'left' of 0.weight, a list, is unknown"),
        ("momentum_buffer", torch.zeros(5, 8), ShapeError, r"is a tensor \[5, 8\], expected a dense tensor \[8, 5\]"),
        ("momentum_buffer", 3, ShapeError, "is a int, expected a dense tensor"),
        ("momentum_buffer", torch.zeros(8, 5).to_sparse(), ShapeError, "torch.sparse_coo"),
    ],
)  # fmt: skip
def test_states_that_are_unknown_are_refused(
    key: str, value: Any, error: type[Exception], message: str
) -> None:
    module, plan, _, _ = made("dense")
    optimizer = Shampooed(module.parameters(), momentum=0.9)
    optimizer.state[module[0].weight][key] = value
    with pytest.raises(error, match=message):
        surgery.apply(plan, module, optimizers=[optimizer])


def test_a_number_that_is_no_number_is_refused() -> None:
    module, plan, _, _ = made("dense")
    optimizer = torch.optim.Adam(module.parameters())
    optimizer.state[module[0].weight]["step"] = torch.zeros(8)
    with pytest.raises(
        ShapeError, match=r"state 'step' of 0.weight is a tensor \[8\], expected a single"
    ):
        surgery.apply(plan, module, optimizers=[optimizer])


def test_what_holds_no_cut_parameter_may_be_any_optimizer() -> None:
    module, plan, _, _ = made("dense")
    surgery.apply(plan, module, optimizers=[torch.optim.LBFGS([module[4].bias])])


def test_states_that_are_none_stay() -> None:
    module, plan, _, _ = made("dense")
    optimizer = torch.optim.SGD(module.parameters(), momentum=0.9)
    optimizer.state[module[0].weight]["momentum_buffer"] = None
    surgery.apply(plan, module, optimizers=[optimizer])
    assert optimizer.state[module[0].weight]["momentum_buffer"] is None
