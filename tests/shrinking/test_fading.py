"""Fading: the channels that are worth least go, exactly as many as the target asks for, in the time that there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.sizes import Size, size, switches_of, thetas
from netdial.core.errors import ConfigError
from netdial.nets.resnet import ResidualBlock
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.fading import can_fade, choose, pulls, score, silence
from netdial.shrinking.penalty import step_switches
from netdial.shrinking.shrink import Shrunk, prepare, shrink

KINDS = ("params", "macs", "bytes")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 14), nn.ReLU(), nn.Linear(14, 9), nn.Tanh(), nn.Linear(9, 3))


def normalised() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 8),
        nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 1, 5)), nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        ResidualBlock(6, 6, stride=1), nn.Conv2d(6, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(40, 3),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "mlp": (mlp, {}),
    "normalised": (normalised, {"minimum": 2}),
    "convolutional": (convolutional, {"streams": True}),
}


def made(name: str, seed: int = 0, **options: Any) -> Graph:
    net, more = NETS[name]
    torch.manual_seed(seed)
    return prepare(net(), torch.randn(2, 5), ShrinkConfig(**{**more, **options}))


@cache
def bounds(name: str, kind: Any) -> tuple[float, float]:
    """Size at the minimum and at the start."""
    graph = made(name)
    now, minimum = size(graph, kind), NETS[name][1].get("minimum", 1)
    order = [group for group, width in graph.widths.items() for _ in range(width - minimum)]
    return now.value - sum(now.costs(order)), now.value


def random_scores(graph: Graph, seed: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {name: torch.rand(len(theta), generator=source) for name, theta in thetas(graph).items()}


def left_of(now: Size, chosen: dict[str, tuple[int, ...]]) -> float:
    return now.value - sum(now.costs(g for g, channels in chosen.items() for _ in channels))


def test_the_score_is_the_running_mean_of_first_order_changes() -> None:
    theta = torch.tensor([1.0, -2.0, 0.0], requires_grad=True)
    idle, scores = torch.ones(2), dict[str, Tensor]()
    theta.grad = torch.tensor([0.5, 0.25, 3.0])
    score(scores, {"a": theta, "idle": idle})
    assert list(scores) == ["a"] and scores["a"].tolist() == [0.25, 0.25, 0.0]
    theta.grad = torch.zeros(3)
    score(scores, {"a": theta, "idle": idle})
    assert scores["a"].tolist() == pytest.approx([0.98 * 0.25, 0.98 * 0.25, 0.0])


@pytest.mark.slow
@given(
    name=st.sampled_from(list(NETS)),
    kind=st.sampled_from(KINDS),
    share=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_the_choice_ends_within_half_a_channel(
    name: str, kind: Any, share: float, seed: int
) -> None:
    graph, minimum = made(name), NETS[name][1].get("minimum", 1)
    least, start = bounds(name, kind)
    goal = least + share * (start - least)
    now = size(graph, kind)
    chosen = choose(
        graph, random_scores(graph, seed), able=can_fade(graph), now=now, goal=goal, minimum=minimum
    )
    for group, channels in chosen.items():
        assert len(set(channels)) == len(channels) <= graph.widths[group] - minimum
    assert abs(left_of(now, chosen) - goal) <= max(now.saved.values()) / 2
    assert left_of(now, chosen) >= least


@given(share=st.floats(0.1, 1), seed=st.integers(0, 9))
def test_what_goes_is_worth_less_for_its_cost_than_what_stays(share: float, seed: int) -> None:
    graph = made("mlp")
    scores, now = random_scores(graph, seed), size(graph, "params")
    chosen = choose(graph, scores, able=can_fade(graph), now=now, goal=share * now.value, minimum=1)
    worth = {
        (group, channel): float(scores[held[0][0]][channel]) / now.saved[group]
        for group, held in switches_of(graph).items()
        for channel in range(graph.widths[group])
    }
    gone = {(group, channel) for group, channels in chosen.items() for channel in channels}
    open_groups = {g for g, width in graph.widths.items() if len(chosen.get(g, ())) < width - 1}
    stays = [value for (g, c), value in worth.items() if (g, c) not in gone and g in open_groups]
    assert all(worth[one] <= min(stays, default=1e9) for one in gone)


def test_a_stream_is_worth_what_its_best_branch_is() -> None:
    graph = made("convolutional")
    scores = random_scores(graph, 0)
    group, held = next((g, held) for g, held in switches_of(graph).items() if len(held) > 1)
    for number, (name, at) in enumerate(held):
        scores[name] = torch.full_like(scores[name], 0.1)
        scores[name][at[number]] = 1e6
    now = size(graph, "params")
    goal = now.value - sum(now.costs([group] * (graph.widths[group] - len(held))))
    chosen = choose(graph, scores, able=[group], now=now, goal=goal, minimum=1)
    assert set(chosen[group]) == set(range(len(held), graph.widths[group]))


def test_a_switch_without_a_gradient_is_worth_nothing() -> None:
    graph = made("mlp")
    scores, now = random_scores(graph, 0), size(graph, "params")
    idle = next(iter(scores))
    del scores[idle]
    group = next(g for g, held in switches_of(graph).items() if held[0][0] == idle)
    chosen = choose(
        graph,
        scores,
        able=can_fade(graph),
        now=now,
        goal=now.value - 2 * now.saved[group],
        minimum=1,
    )
    assert {g: len(channels) for g, channels in chosen.items()} == {group: 2}


@pytest.mark.parametrize("rate", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_proximal_steps_take_what_fades_to_zero_in_time_and_leave_the_rest(
    rate: float, steps: int
) -> None:
    graph = made("mlp", start="sampled")
    group, other = graph.widths
    switches, fading = thetas(graph), {group: (0, 3)}
    before = {name: theta.detach().clone() for name, theta in switches.items()}
    lams = pulls(graph, fading, reach=rate * steps)
    for _ in range(steps):
        step_switches(switches, 1.0, rate=rate, weights=lams)
    faded, kept = (switches_of(graph)[g][0][0] for g in (group, other))
    assert torch.equal(switches[kept], before[kept])
    assert switches[faded][[0, 3]].abs().max() <= 1e-6
    stay = [c for c in range(graph.widths[group]) if c not in (0, 3)]
    assert torch.equal(switches[faded][stay], before[faded][stay])
    silence(graph, fading)
    assert switches[faded][[0, 3]].tolist() == [0, 0]
    assert torch.equal(switches[faded][stay], before[faded][stay])


class Beside(nn.Module):
    """A layer with a switch, to which one without is added."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(5, 6), nn.Linear(6, 3)
        self.weight = nn.Parameter(torch.randn(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layer(x) + x @ torch.tanh(self.weight).t())
        return out


HELD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "normalised over": (
        lambda: nn.Sequential(
            nn.Linear(5, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3)
        ),
        "3",
    ),
    "constants before padding": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 5)),
            nn.Conv1d(1, 4, 3, padding=1),
            nn.Sigmoid(),
            nn.Conv1d(4, 6, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(30, 3),
        ),
        "3",
    ),
    "added to": (lambda: nn.Sequential(Beside(), nn.ReLU(), nn.Linear(3, 8), nn.Linear(8, 3)), "2"),
}


@pytest.mark.parametrize("name", list(HELD))
def test_groups_that_cannot_go_do_not_fade(name: str, blobs: tuple[Tensor, Tensor]) -> None:
    """A target is reached with the others, and what cannot go keeps its switches."""
    make, able = HELD[name]
    torch.manual_seed(0)
    net = make()
    graph = prepare(net, blobs[0][:2], ShrinkConfig(streams=True))
    before = {n: theta.detach().clone() for n, theta in thetas(graph).items()}
    found = can_fade(graph)
    assert able in found and len(found) < len(switches_of(graph))
    assert all(torch.equal(theta, before[n]) for n, theta in thetas(graph).items())

    start = size(graph, "params")
    goal = start.value - sum(start.costs([able] * 3))
    done = shrink(
        net, blobs, size=f"{goal} params", streams=True, epochs=4, batch_size=20, deadline=1.0
    )
    assert done.n_params == goal
    for group, width in done.widths.items():
        assert width == graph.widths[group] or group in found
    for group, held in switches_of(done.graph).items():
        if group not in found:
            assert all(bool((thetas(done.graph)[n] != 0).all()) for n, _ in held)


def shrunk_to(name: str, kind: str, goal: float, seed: int, data: Any, **options: Any) -> Shrunk:
    net, more = NETS[name]
    torch.manual_seed(seed)
    settings_ = {"epochs": 3, "batch_size": 20, **more, **options}
    return shrink(net(), data, size=f"{goal:.6f} {kind}", seed=seed, **settings_)


@pytest.mark.slow
@settings(max_examples=4)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(NETS))
@given(share=st.floats(0, 0.95), seed=st.integers(0, 99))
def test_training_arrives_within_half_a_channel_of_the_target(
    name: str, kind: Any, share: float, seed: int
) -> None:
    y = torch.arange(60) % 3
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(seed)) + y[:, None]
    least, start = bounds(name, kind)
    goal = max(least + share * (start - least), least * (1 + 1e-5))
    done = shrunk_to(name, kind, goal, seed, (x, y))
    found, minimum = size(done.graph, kind), NETS[name][1].get("minimum", 1)
    assert abs(found.value - goal) <= max(found.saved.values()) / 2
    assert found.value >= least and min(done.widths.values()) >= minimum
    assert all(event.difference <= 1e-5 for event in done.events)


@pytest.mark.parametrize("options", [{"epochs": 1}, {"epochs": 2, "collect_every": 1000}])
def test_a_short_run_arrives_too(options: dict[str, Any], blobs: tuple[Tensor, Tensor]) -> None:
    """There is a collection at which channels begin to fade, however seldom collections are asked for."""
    least, start = bounds("mlp", "params")
    done = shrunk_to("mlp", "params", (least + start) / 2, 0, blobs, **options)
    assert abs(done.n_params - (least + start) / 2) <= 15 / 2


@pytest.mark.parametrize("deadline", [0.25, 0.5, 1.0])
def test_the_target_is_reached_at_the_deadline_and_kept(
    deadline: float, blobs: tuple[Tensor, Tensor]
) -> None:
    sizes: list[int] = []
    torch.manual_seed(0)
    shrink(
        mlp(), blobs, size="120 params", epochs=12, batch_size=20, deadline=deadline,
        report=lambda epoch, state: sizes.append(sum(p.numel() for p in state.module.parameters())),
    )  # fmt: skip
    assert sizes == sorted(sizes, reverse=True)
    at = int(12 * deadline)
    assert len(set(sizes[at - 1 :])) == 1
    assert sizes[max(at - 3, 0)] > sizes[-1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_target_out_of_reach_is_refused(kind: Any, blobs: tuple[Tensor, Tensor]) -> None:
    least, start = bounds("mlp", kind)
    for goal in (start, 2 * start):
        with pytest.raises(ConfigError, match="so there is nothing to shrink; lower the target"):
            shrunk_to("mlp", kind, goal, 0, blobs)
    with pytest.raises(ConfigError, match=f"there are still {least:.10g}; raise the target"):
        shrunk_to("mlp", kind, least - 1, 0, blobs)
    assert size(shrunk_to("mlp", kind, least, 0, blobs).graph, kind).value == least
    with pytest.raises(ConfigError, match="raise the target, or lower minimum"):
        shrunk_to("mlp", kind, least, 0, blobs, minimum=2)


def test_one_step_is_too_few(blobs: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match="one step of training leaves no time to fade"):
        shrunk_to("mlp", "params", 100, 0, blobs, epochs=1, batch_size=60)


def by_weights(nets: Sequence[nn.Module], x: Tensor) -> list[float]:
    """A clock that is steady: a millisecond for the call, and a hundredth for each weight."""
    return [1.0 + 1e-2 * sum(p.numel() for p in net.parameters()) for net in nets]


def test_milliseconds_are_a_target_too(
    blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that counts weights: it is steady, and does not go with multiplications alone."""

    monkeypatch.setattr("netdial.channels.clock.quiet_ms", by_weights)
    done = shrunk_to("normalised", "ms", 2.2, 0, blobs, epochs=8, deadline=0.5)
    found = size(done.graph, "ms")
    assert abs(found.value - 2.2) <= max(found.saved.values())
    assert sum(p.numel() for p in done.fold()[0].parameters()) == round(100 * (found.value - 1))
