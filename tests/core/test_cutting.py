"""Cutting modules in place: what layers say of their sizes, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from netdial.core.cutting import cut_module, leaf_shapes, leaves, prepare
from netdial.core.errors import ConfigError, ShapeError
from netdial.core.plan import Group, Plan, Slot

KEEP = (0, 2, 3)
F64 = torch.float64


def attributes(part: nn.Module) -> dict[str, Any]:
    """Every number and tuple that a layer holds as an attribute."""
    plain = {k: v for k, v in vars(part).items() if isinstance(v, int | tuple)}
    return {k: v for k, v in plain.items() if not k.startswith("_")}


def cut(part: nn.Module, cuts: dict[str, dict[int, tuple[int, ...]]]) -> Any:
    cut_module(Plan(cuts), part)
    return part


CASES: dict[str, tuple[Any, dict[str, dict[int, tuple[int, ...]]], Any]] = {
    "linear": (
        nn.Linear(4, 5),
        {"weight": {0: KEEP, 1: (1, 2)}, "bias": {0: KEEP}},
        nn.Linear(2, 3),
    ),
    "bilinear": (
        nn.Bilinear(4, 5, 2),
        {"weight": {1: KEEP, 2: (0,)}},
        nn.Bilinear(3, 1, 2),
    ),
    "convolution": (
        nn.Conv2d(4, 6, 3),
        {"weight": {0: KEEP, 1: (3,)}, "bias": {0: KEEP}},
        nn.Conv2d(1, 3, 3),
    ),
    "depthwise": (nn.Conv1d(4, 4, 3, groups=4, bias=False), {"weight": {0: KEEP}}, None),
    "depthwise x 2": (
        nn.Conv2d(4, 8, 3, groups=4),
        {"weight": {0: (0, 1, 4, 5, 6, 7)}, "bias": {0: (0, 1, 4, 5, 6, 7)}},
        nn.Conv2d(3, 6, 3, groups=3),
    ),
    "grouped, evenly": (
        nn.Conv2d(4, 6, 1, groups=2, bias=False),
        {"weight": {0: (0, 1, 3, 5), 1: (1,)}},
        nn.Conv2d(2, 4, 1, groups=2, bias=False),
    ),
    "grouped, a whole group": (
        nn.Conv2d(4, 6, 1, groups=2, bias=False),
        {"weight": {0: (3, 4, 5)}},
        nn.Conv2d(2, 3, 1, groups=1, bias=False),
    ),
    "transposed": (
        nn.ConvTranspose2d(4, 5, 3),
        {"weight": {0: (1,), 1: KEEP}, "bias": {0: KEEP}},
        nn.ConvTranspose2d(1, 3, 3),
    ),
    "transposed, depthwise": (
        nn.ConvTranspose1d(4, 8, 3, groups=4),
        {"weight": {0: (1, 3)}, "bias": {0: (2, 3, 6, 7)}},
        nn.ConvTranspose1d(2, 4, 3, groups=2),
    ),
    "batch norm": (
        nn.BatchNorm2d(5),
        {name: {0: KEEP} for name in ("weight", "bias", "running_mean", "running_var")},
        nn.BatchNorm2d(3),
    ),
    "group norm": (
        nn.GroupNorm(3, 6),
        {"weight": {0: (0, 1, 4, 5)}, "bias": {0: (0, 1, 4, 5)}},
        nn.GroupNorm(2, 4),
    ),
    "group norm, evenly": (
        nn.GroupNorm(3, 6),
        {"weight": {0: (1, 2, 4)}, "bias": {0: (1, 2, 4)}},
        nn.GroupNorm(3, 3),
    ),
    "layer norm": (
        nn.LayerNorm((5, 2)),
        {"weight": {0: KEEP}, "bias": {0: KEEP}},
        nn.LayerNorm((3, 2)),
    ),
    "layer norm, bare": (
        nn.LayerNorm(5, elementwise_affine=False),
        {"normalized_shape": {0: KEEP}},
        nn.LayerNorm(3, elementwise_affine=False),
    ),
    "instance norm, bare": (
        nn.InstanceNorm1d(5),
        {"num_features": {0: KEEP}},
        nn.InstanceNorm1d(3),
    ),
    "group norm, bare": (
        nn.GroupNorm(2, 6, affine=False),
        {"num_channels": {0: (3, 4, 5)}},
        nn.GroupNorm(1, 3, affine=False),
    ),
    "rms norm": (  # as much is added to the sum of squares as before
        nn.RMSNorm(5),
        {"weight": {0: KEEP}},
        nn.RMSNorm(3, eps=torch.finfo(torch.float32).eps * 5 / 3),
    ),
    "rms norm, epsilon": (nn.RMSNorm(5, 0.3), {"weight": {0: KEEP}}, nn.RMSNorm(3, 0.5)),
    "prelu": (nn.PReLU(5), {"weight": {0: KEEP}}, nn.PReLU(3)),
    "embedding": (nn.Embedding(7, 5), {"weight": {1: KEEP}}, nn.Embedding(7, 3)),
}


@pytest.mark.parametrize("case", list(CASES))
def test_layers_are_left_as_if_made_smaller(case: str) -> None:
    whole, cuts, expected = CASES[case]
    part = cut(copy.deepcopy(whole), cuts)
    expected = expected or nn.Conv1d(3, 3, 3, groups=3, bias=False)
    assert attributes(part) == attributes(expected)
    assert leaf_shapes(part) == leaf_shapes(expected)
    assert repr(part) == repr(expected)


def gates(kept: tuple[int, ...], size: int, count: int) -> tuple[int, ...]:
    return tuple(gate * size + p for gate in range(count) for p in kept)


@pytest.mark.parametrize(("kind", "count"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers_run_on_after_a_cut(kind: Any, count: int) -> None:
    """Each layer and direction loses units of its own, equally many."""
    kept = [[(0, 1, 3), (1, 2, 3)], [(0, 2, 3), (0, 1, 2)]]
    cuts: dict[str, dict[int, tuple[int, ...]]] = {}
    for layer in range(2):
        for kept_here, suffix in zip(kept[layer], ("", "_reverse"), strict=True):
            end = f"_l{layer}{suffix}"
            rows = gates(kept_here, 4, count)
            below = (0, 2) if layer == 0 else kept[0][0] + tuple(4 + p for p in kept[0][1])
            cuts[f"weight_ih{end}"] = {0: rows, 1: below}
            cuts[f"weight_hh{end}"] = {0: rows, 1: kept_here}
            cuts |= {f"bias_ih{end}": {0: rows}, f"bias_hh{end}": {0: rows}}
    whole = kind(3, 4, num_layers=2, bidirectional=True, dtype=F64)
    part = cut(copy.deepcopy(whole), cuts)
    fresh = kind(2, 3, num_layers=2, bidirectional=True, dtype=F64)
    assert attributes(part) == attributes(fresh)
    fresh.load_state_dict(part.state_dict())
    x = torch.randn(5, 1, 2, dtype=F64)
    out = part(x)[0]
    assert torch.equal(out, fresh(x)[0])
    out.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in part.parameters())


def test_recurrent_weights_are_packed_again_once_all_are_cut() -> None:
    """cuDNN wants them in one piece; on a CPU the call does nothing."""
    layer, seen = nn.RNN(2, 3, bias=False), []
    layer.flatten_parameters = lambda: seen.append([list(p.shape) for p in layer.parameters()])  # type: ignore[method-assign]
    cut(layer, {"weight_ih_l0": {0: (0, 2)}, "weight_hh_l0": {0: (0, 2), 1: (0, 2)}})
    assert seen == [[[2, 2], [2, 2]]]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projected_recurrent_layers_and_cells() -> None:
    whole = nn.LSTM(3, 4, proj_size=2)
    rows = gates((0, 3), 4, 4)
    cuts = {name: {0: rows} for name in ("bias_ih_l0", "bias_hh_l0", "weight_ih_l0")}
    part = cut(
        whole, {**cuts, "weight_hh_l0": {0: rows, 1: (1,)}, "weight_hr_l0": {0: (1,), 1: (0, 3)}}
    )
    assert attributes(part) == attributes(nn.LSTM(3, 2, proj_size=1))
    assert part(torch.randn(2, 1, 3))[0].shape == (2, 1, 1)
    rows = gates((1, 2), 3, 3)
    cuts = {name: {0: rows} for name in ("weight_ih", "bias_ih", "bias_hh")}
    cell = cut(nn.GRUCell(2, 3), {**cuts, "weight_hh": {0: rows, 1: (1, 2)}})
    assert attributes(cell) == attributes(nn.GRUCell(2, 2))
    assert cell(torch.randn(4, 2)).shape == (4, 2)


def test_numbers_gradients_and_buffers_are_what_survives() -> None:
    net = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5)).to(memory_format=torch.channels_last)
    net(torch.randn(3, 2, 4, 4)).sum().backward()
    before, net[0].weight.requires_grad = copy.deepcopy(net), False
    gradients = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    objects = leaves(net)
    names = ("1.weight", "1.bias", "1.running_mean", "1.running_var", "0.bias", "0.weight")
    plan = Plan({name: {0: KEEP} for name in names})
    cut_module(plan, net)
    assert all(leaves(net)[name] is tensor for name, tensor in objects.items())
    for name, tensor in leaves(before).items():
        mine = leaves(net)[name]
        assert torch.equal(mine, plan.cut(name, tensor))
        if name in gradients:
            assert mine.grad is not None
            assert torch.equal(mine.grad, plan.cut(name, gradients[name]))
    assert len(gradients) == 4
    assert not net[0].weight.requires_grad and net[0].bias.requires_grad
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(x) * self.scale)
        return out


def test_tied_weights_are_cut_once_and_both_layers_know() -> None:
    net = Tied()
    cut_module(Plan({"embed.weight": {1: KEEP}, "scale": {0: KEEP}}), net)
    assert net.head.weight is net.embed.weight
    assert (net.embed.embedding_dim, net.head.in_features) == (3, 3)
    net(torch.arange(3)).sum().backward()
    assert net.embed.weight.grad is not None and net.embed.weight.grad.shape == (7, 3)


def test_a_graph_that_is_still_alive_does_not_spoil_the_next_one() -> None:
    """Autograd's accumulator remembers a shape as long as any earlier graph lives."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    seen: list[tuple[int, ...]] = []
    net[0].weight.register_post_accumulate_grad_hook(lambda p: seen.append(tuple(p.shape)))
    alive = net(torch.randn(2, 3)).sum()
    cut_module(Plan({"0.weight": {0: (1, 2)}, "0.bias": {0: (1, 2)}, "2.weight": {1: (1, 2)}}), net)
    net(torch.randn(2, 3)).sum().backward()
    assert seen == [(2, 3)]
    with pytest.raises(RuntimeError):
        alive.backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64])
def test_number_types_stay(dtype: torch.dtype) -> None:
    part = cut(nn.Linear(4, 2, bias=False, dtype=dtype), {"weight": {1: KEEP}})
    assert part.weight.dtype == dtype
    part.weight.abs().sum().backward()
    assert part.weight.grad.shape == (2, 3)


def test_buffers_of_any_type_are_cut() -> None:
    part = nn.Module()
    part.register_buffer("flags", torch.tensor([True, False, True, True]))
    part.register_buffer("counts", torch.arange(4), persistent=False)
    cut(part, {"flags": {0: KEEP}, "counts": {0: KEEP}})
    assert part.get_buffer("flags").tolist() == [True, True, True]
    assert part.get_buffer("counts").tolist() == [0, 2, 3]


WIDTHS = (5, 6)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    first, second = WIDTHS
    return nn.Sequential(
        nn.Conv2d(2, first, 3, padding=1),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        nn.Conv2d(first, second, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * second, 3),
    ).double()


def groups(widths: tuple[int, int] = WIDTHS) -> list[Group]:
    first = tuple((c,) for c in range(widths[0]))
    second = tuple((c,) for c in range(widths[1]))
    flat = tuple(tuple(range(4 * c, 4 * c + 4)) for c in range(widths[1]))
    names = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    return [
        Group("0", (*(Slot(name, 0, first) for name in names), Slot("3.weight", 1, first))),
        Group(
            "3", (Slot("3.weight", 0, second), Slot("3.bias", 0, second), Slot("6.weight", 1, flat))
        ),
    ]


def removals(widths: tuple[int, int]) -> st.SearchStrategy[dict[str, set[int]]]:
    return st.fixed_dictionaries(
        {
            name: st.sets(st.integers(0, width - 1), max_size=width - 1)
            for name, width in zip(("0", "3"), widths, strict=True)
        }
    )


@given(removed=removals(WIDTHS))
def test_a_cut_network_is_the_masked_one(removed: dict[str, set[int]]) -> None:
    net = network().eval()
    masked = copy.deepcopy(net)
    plan = Plan.remove(groups(), removed, leaf_shapes(net))
    cut_module(plan, net)
    with torch.no_grad():
        for name, leaf in masked.named_parameters():
            leaf.mul_(plan.mask(name, leaf.shape))
    x = torch.randn(2, 2, 4, 4, dtype=F64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(net(x), masked(x), rtol=0, atol=1e-12)


@given(data=st.data(), removed=removals(WIDTHS))
def test_cuts_compose(data: st.DataObject, removed: dict[str, set[int]]) -> None:
    twice, once = network(), network()
    first = Plan.remove(groups(), removed, leaf_shapes(twice))
    cut_module(first, twice)
    left = (WIDTHS[0] - len(removed["0"]), WIDTHS[1] - len(removed["3"]))
    second = Plan.remove(groups(left), data.draw(removals(left)), leaf_shapes(twice))
    cut_module(second, twice)
    cut_module(first.then(second), once)
    assert repr(twice) == repr(once)
    assert all(torch.equal(leaf, leaves(once)[name]) for name, leaf in leaves(twice).items())


REFUSED: dict[str, tuple[Any, dict[str, dict[int, tuple[int, ...]]], str]] = {
    "unknown": (nn.Linear(4, 5), {"wieght": {0: KEEP}}, "unknown leaf 'wieght'; did you mean"),
    "second name": (Tied(), {"head.weight": {1: KEEP}}, "another name of embed.weight; cut that"),
    "dimension": (nn.Linear(4, 5), {"bias": {1: KEEP}}, r"leaf bias of shape \[5\] has no dimension 1"),
    "position": (nn.Linear(4, 5), {"weight": {1: (2, 4)}}, "survivors 2…4 have to be .* of 0…3"),
    "order": (nn.Linear(4, 5), {"weight": {1: (2, 1)}}, "have to be ascending"),
    "nothing": (nn.Linear(4, 5), {"weight": {1: ()}}, "nothing would survive of leaf weight"),
    "half a layer": (nn.Linear(4, 5), {"weight": {0: KEEP}}, "bias: keeps other positions of out_features"),
    "two halves": (
        nn.Linear(4, 5),
        {"weight": {0: KEEP}, "bias": {0: (0, 1, 2)}},
        "bias: keeps other positions of out_features",
    ),
    "transposed bias": (
        nn.ConvTranspose1d(4, 4, 3, groups=2),
        {"weight": {0: (0, 1)}, "bias": {0: (2, 3)}},
        "bias: keeps other positions of out_channels",
    ),
    "kernel": (nn.Conv1d(2, 2, 3), {"weight": {2: (0, 1)}}, "dimension 2 holds no channels"),
    "tokens": (nn.Embedding(7, 4), {"weight": {0: KEEP}}, "rows of an embedding are looked up"),
    "last tokens": (nn.Embedding(7, 4), {"weight": {0: (0, 1)}}, "rows of an embedding are looked up"),
    "uneven groups": (
        nn.Conv2d(4, 6, 1, groups=2, bias=False),
        {"weight": {0: (0, 1, 3)}},
        "2 groups of 3 channels would be left with 2, 1",
    ),
    "gates": (nn.GRUCell(2, 2, bias=False), {"weight_hh": {0: (0, 1, 2, 4)}}, "other positions of hidden_size"),
    "layers": (
        nn.RNN(2, 3, num_layers=2, bias=False),
        {"weight_ih_l1": {0: (0, 1)}, "weight_hh_l1": {0: (0, 1), 1: (0, 1)}},
        "hidden_size: would be 3, 2 in parts of one layer",
    ),
    "attention": (nn.MultiheadAttention(4, 2), {"out_proj.weight": {1: (0, 1)}}, "replace it by separate"),
    "parametrised": (
        parametrizations.weight_norm(nn.Linear(4, 5)),
        {"bias": {0: KEEP}},
        "computes its .* leaves from others",
    ),
    "parametrised leaf": (
        parametrizations.weight_norm(nn.Linear(4, 5)),
        {"weight": {0: KEEP}, "bias": {0: KEEP}},
        "leaf weight is computed from others .*remove_parametrizations",
    ),
    "pruned": (
        prune.l1_unstructured(nn.Linear(4, 5), "weight", 2),  # type: ignore[no-untyped-call]
        {"weight_orig": {1: KEEP}},
        "computes its Linear leaves from others .L1Unstructured",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_cut_is_refused_and_stays(case: str) -> None:
    part, cuts, message = REFUSED[case]
    before = {name: leaf.clone() for name, leaf in leaves(part).items()}
    said = [attributes(p) for p in part.modules()]
    with pytest.raises((ConfigError, ShapeError), match=message):
        cut_module(Plan(cuts), part)
    assert [attributes(p) for p in part.modules()] == said
    assert all(torch.equal(leaf, before[name]) for name, leaf in leaves(part).items())


def test_the_message_says_which_layer() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    with pytest.raises(ShapeError, match=r"plan: 1\.bias: keeps other positions"):
        cut_module(Plan({"1.weight": {0: (0,)}}), net)


def test_attributes_that_were_wrong_before_are_found() -> None:
    part = nn.Linear(4, 3)
    part.in_features = 5
    with pytest.raises(ShapeError, match="weight: dimension 1 is 4, but in_features asks for 5"):
        cut_module(Plan({"bias": {0: (0,)}, "weight": {0: (0,)}}), part)


def test_sparse_gradients_and_lazy_layers_are_refused() -> None:
    part = nn.Embedding(7, 4, sparse=True)
    part(torch.tensor([1])).sum().backward()
    with pytest.raises(ConfigError, match="leaf weight: its gradient is sparse"):
        cut_module(Plan({"weight": {1: KEEP}}), part)
    with pytest.raises(ConfigError, match="leaf weight has no shape yet; run the network"):
        cut_module(Plan({"weight": {0: KEEP}}), nn.LazyLinear(5))


def test_preparing_changes_nothing_and_an_empty_plan_too() -> None:
    net = network()
    before = {name: leaf.clone() for name, leaf in leaves(net).items()}
    prepare(Plan.remove(groups(), {"0": [1]}, leaf_shapes(net)), net)
    cut_module(Plan(), net)
    assert all(torch.equal(leaf, before[name]) for name, leaf in leaves(net).items())
    assert repr(net) == repr(network())
