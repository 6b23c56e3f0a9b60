"""Collection: outputs never change, constants are taken up or refused, and everything else follows."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.collect import Collection, collect, removable
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.sizes import strip, total
from netdial.core.errors import ConfigError, TraceError

from .. import networks
from ..networks import Call, stirred

P = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
V = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def graph_of(*layers: nn.Module, x: Tensor = V) -> Graph:
    torch.manual_seed(0)
    return Graph.of(stirred(nn.Sequential(*layers).double()), x)


def silence(module: nn.Module, channels: list[int], *, bias: float | None = None) -> None:
    """Sets rows of a layer, or scales of a normalisation, to 0; the bias to a number, or leaves it."""
    with torch.no_grad():
        module.weight[channels] = 0  # type: ignore[operator]
        if bias is not None:
            module.bias[channels] = bias  # type: ignore[operator]


def gone(report: Collection) -> dict[str, tuple[int, ...]]:
    return report.plan.removed


def assert_exact(graph: Graph, *, continues: bool = True) -> Collection:
    """Collects, and compares outputs on new inputs, in training mode too where training goes on."""
    before = copy.deepcopy(graph.traced)
    after, report = collect(graph, continues=continues)
    x = 3 * torch.randn_like(graph.example)
    for training in (False, True) if continues else (False,):
        one, other = before.train(training)(x), after.traced.train(training)(x)
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)
    return report


@pytest.mark.slow
@pytest.mark.parametrize("which", range(24))
def test_outputs_of_random_networks_stay(which: int) -> None:
    difference, _ = networks.collected(which)
    assert difference < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("which", range(5))
def test_cut_and_masked_train_on_alike(which: int) -> None:
    at_once, later, _ = networks.cut_and_masked(which)
    assert max(at_once, later) < 1e-10


def test_t1_a_batch_norm_that_emits_its_bias_is_folded() -> None:
    graph = graph_of(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 4, 3),
        nn.Flatten(),
        nn.Linear(64, 2),
        x=P,
    )
    silence(graph.traced.get_submodule("1"), [1, 4], bias=2.0)  # the convolution's rows are alive
    report = assert_exact(graph)
    assert gone(report) == {"0": (1, 4)}
    assert report.folded == {"2.bias": 2}
    assert report.widths == {"0": 4, "2": 4}


def test_t1_with_zeros_at_the_border_it_is_refused() -> None:
    graph = graph_of(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 3, padding=1), x=P)
    silence(graph.traced.get_submodule("1"), [1], bias=2.0)
    silence(graph.traced.get_submodule("1"), [4], bias=0.0)
    report = assert_exact(graph)
    assert gone(report) == {"0": (4,)}
    assert report.refused == {
        "0": "node '_2' reads constants other than 0 and pads with zeros, so that they count less at the border"
    }


def test_constants_that_differ_from_position_to_position_are_not_blamed_on_padding() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 2)
            self.register_buffer("places", torch.arange(5.0)[:, None] + 1)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.two(torch.relu(self.one(x) + self.places))
            return found

    graph = Graph.of(Placed().double(), torch.randn(2, 5, 4).double())
    silence(graph.traced.get_submodule("one"), [2], bias=0.0)
    report = assert_exact(graph)
    assert report.refused == {
        "one": "node 'two' reads constants other than 0 that differ from position to position"
    }


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Softplus(), nn.Hardsigmoid()])
def test_t2_an_activation_of_0_that_is_not_0_is_folded(activation: nn.Module) -> None:
    graph = graph_of(nn.Linear(4, 6), activation, nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    silence(graph.traced.get_submodule("0"), [0, 3], bias=0.0)
    report = assert_exact(graph)
    assert gone(report) == {"0": (0, 3)}
    assert report.folded == {"2.bias": 2}


def test_t2_a_reader_without_a_bias_has_its_batch_norm_take_constants_up() -> None:
    layers = [nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 5, bias=False)]
    graph = graph_of(*layers, nn.BatchNorm1d(5), nn.Linear(5, 2))
    silence(graph.traced.get_submodule("0"), [2])
    assert assert_exact(graph).folded == {"3.running_mean": 1}
    graph = graph_of(*layers, nn.Linear(5, 2))
    silence(graph.traced.get_submodule("0"), [2])
    report = assert_exact(graph)
    assert not gone(report)
    assert "has no bias, and no BatchNorm of its own behind it" in report.refused["0"]


def test_t3_a_switch_before_a_batch_norm_is_no_constant_while_training_goes_on() -> None:
    def made() -> Graph:
        graph = graph_of(
            nn.Linear(4, 6), nn.Identity(), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)
        )
        silence(graph.traced.get_submodule("0"), [1, 2], bias=0.0)
        return graph

    graph = made()
    assert removable(graph, continues=True) == {}
    assert not gone(assert_exact(graph))
    report = assert_exact(
        made(), continues=False
    )  # statistics are frozen: the BatchNorm's output is folded
    assert gone(report) == {"0": (1, 2)}


def test_t4_dead_channels_at_different_places_of_groups_stay() -> None:
    graph = graph_of(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 2, 3), x=P)
    silence(graph.traced.get_submodule("0"), [1, 6], bias=0.0)
    assert not gone(assert_exact(graph))
    silence(graph.traced.get_submodule("0"), [2, 5], bias=0.0)
    assert gone(assert_exact(graph)) == {"0": (1, 2)}


def test_t9_mode_requires_grad_and_identity_stay() -> None:
    graph = graph_of(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    graph.traced.train()
    graph.traced.get_submodule("1").eval()
    graph.traced.get_submodule("0").weight.requires_grad_(False)  # type: ignore[union-attr]
    silence(graph.traced.get_submodule("1"), [0], bias=0.5)
    held = dict(graph.traced.named_parameters())
    modes = [module.training for module in graph.traced.modules()]
    after, _ = collect(graph)
    assert [module.training for module in after.traced.modules()] == modes
    assert all(leaf is held[name] for name, leaf in after.traced.named_parameters())
    assert not held["0.weight"].requires_grad


def test_switches_at_0_take_their_channels_along() -> None:
    graph = graph_of(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 2, 3, padding=1),
        x=P,
    )
    names = insert_switches(graph.traced)
    graph = Graph.of(graph.traced, P)
    with torch.no_grad():
        graph.traced.get_submodule(names["0"]).theta[[0, 5]] = 0  # type: ignore[index]
    report = assert_exact(graph)
    assert gone(report) == {"0": (0, 5)}
    assert report.difference < 1e-12
    assert report.n_params == total(strip(graph.traced))


def test_a_bias_that_others_use_too_takes_nothing_up() -> None:
    both = nn.Linear(6, 6)
    graph = graph_of(nn.Linear(4, 6), nn.Sigmoid(), both, nn.Tanh(), both, nn.Linear(6, 2))
    group = graph.groups[0]
    assert {slot.leaf for slot in group.slots} >= {"0.weight", "2.weight"}
    silence(graph.traced.get_submodule("0"), [1], bias=0.0)
    silence(both, [1], bias=0.0)
    report = assert_exact(graph)
    assert not gone(report)
    assert "has no bias of its own" in report.refused["0"]


def test_a_channel_goes_where_the_other_factor_is_0() -> None:
    product = Call(lambda s, x: x @ s.w, w=torch.randn(6, 5))
    graph = graph_of(nn.Linear(4, 6), nn.Sigmoid(), product, nn.Linear(5, 2))
    with torch.no_grad():
        graph.traced.get_parameter("2.w")[[1, 2]] = 0
    assert gone(assert_exact(graph)) == {"0": (1, 2)}


def test_a_layer_keeps_its_minimum_and_says_so() -> None:
    def made() -> Graph:
        graph = graph_of(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
        silence(graph.traced.get_submodule("0"), list(range(6)), bias=-1.0)
        return graph

    _, report = collect(made())
    assert gone(report) == {"0": (0, 1, 2, 3, 4)}
    assert report.refused == {"0": "keeps at least 1 of 6 channels"}
    assert collect(made(), minimum=4)[1].widths == {"0": 4}


def test_only_what_is_asked_for_goes_and_what_cannot_is_named() -> None:
    graph = graph_of(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    silence(graph.traced.get_submodule("0"), [1, 3], bias=0.0)
    with pytest.raises(ConfigError, match="unknown group '1'"):
        collect(graph, only={"1": [0]})
    with pytest.raises(ConfigError, match=r"group 0: channels 3…6 asked for, it has 0…5"):
        collect(graph, only={"0": [3, 6]})
    after, report = collect(graph, only={"0": [3, 4]})
    assert gone(report) == {"0": (3,)}
    assert report.refused == {"0": "not the same for every input"}
    assert gone(collect(after)[1]) == {"0": (1,)}  # numbered anew: 1 is still 1


def test_channels_that_are_normalised_over_stay() -> None:
    graph = graph_of(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    silence(graph.traced.get_submodule("0"), [1], bias=0.0)
    silence(graph.traced.get_submodule("1"), [1], bias=0.0)
    report = assert_exact(graph)
    assert not gone(report)
    assert "depends on all channels together" in report.refused["0"]


def test_optimizers_follow() -> None:
    graph = graph_of(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 2))
    silence(graph.traced.get_submodule("0"), [1, 3])
    optimizer = torch.optim.AdamW(graph.traced.parameters())
    graph.traced(V).sum().backward()
    optimizer.step()
    silence(graph.traced.get_submodule("0"), [1, 3])
    collect(graph, only={"0": [1]}, optimizers=[optimizer])
    assert optimizer.state[graph.traced.get_parameter("0.weight")]["exp_avg"].shape == (5, 4)


def test_channels_that_a_view_ties_together_stay_unless_all_are_dead() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], 2, 2, -1).transpose(1, 2).flatten(1)

    graph = graph_of(nn.Linear(4, 8), Call(forward), nn.Linear(8, 2))
    silence(graph.traced.get_submodule("0"), [1], bias=0.0)
    before = copy.deepcopy(graph.traced.state_dict())
    _, report = collect(graph)
    assert not gone(report)
    assert all(torch.equal(leaf, before[name]) for name, leaf in graph.traced.state_dict().items())


def test_a_difference_is_refused_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 2))
    silence(graph.traced.get_submodule("0"), [1], bias=0.0)
    before = copy.deepcopy(graph.traced.state_dict())
    monkeypatch.setattr(
        "netdial.channels.collect.shifts", lambda *args: {}
    )  # as other libraries do
    with pytest.raises(TraceError, match=r"would change the outputs by \d.*nothing was changed"):
        collect(graph)
    assert all(torch.equal(leaf, before[name]) for name, leaf in graph.traced.state_dict().items())
