"""The method: what a step does to switches and weights, and that a run cut off in mid-shrink goes on as if it never was."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels import optimizers
from netdial.channels.sizes import strip, switches_of, thetas
from netdial.core.cutting import cut_module, leaf_shapes
from netdial.core.errors import CheckpointError, ConfigError, NonFiniteError
from netdial.core.records import Event
from netdial.data.dataset import Dataset
from netdial.nets.named import build
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.method import ShrinkMethod
from netdial.shrinking.shrink import Shrunk, prepare, run
from netdial.shrinking.state import ShrinkState
from netdial.task import Classification
from netdial.train.config import make
from netdial.train.feed import Batch, TensorFeed
from netdial.train.session import Interrupted

IDENTITY = {"seed": 0, "lam": 0.3}
STEPS = 5  # in an epoch: 60 examples, 12 in a batch


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 14), nn.ReLU(), nn.Linear(14, 9), nn.Tanh(), nn.Linear(9, 3))


def normalised() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 8),
        nn.Sigmoid(), nn.Linear(8, 3),
    )  # fmt: skip


def config_of(**settings: Any) -> ShrinkConfig:
    return make(ShrinkConfig, {"epochs": 4, "batch_size": 12, "collect_every": 3, **settings})


class Job:
    """A small run, made afresh as a new process would."""

    def __init__(
        self, data: Any, net: Callable[[], nn.Module] = mlp, *, lenient: bool = False, **given: Any
    ) -> None:
        self.config = config_of(lenient=lenient, **given)
        torch.manual_seed(3)
        self.start = net()
        self.graph = prepare(self.start, data[0][:2], self.config)
        self.shapes = leaf_shapes(self.graph.traced)
        self.data = data
        self.state: ShrinkState | None = None

    def run(self, **options: Any) -> Shrunk:
        def keep(epoch: Any, state: ShrinkState) -> None:
            self.state = state

        return run(
            self.graph, self.data, None, kind="classification", report=keep,
            config=self.config.for_rows(len(self.data[0])), **options,
        )  # fmt: skip

    def killed_at(self, stop: int, checkpoint: Path) -> None:
        """Runs until the process is terminated at a step."""

        def advance(step: int, total: int) -> None:
            if step == stop:
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(Interrupted, match=f"stopped at step {stop}"):
            self.run(checkpoint=checkpoint, identity=IDENTITY, advance=advance)

    def resumed(self, checkpoint: Path, **identity: Any) -> Shrunk:
        return self.run(checkpoint=checkpoint, identity={**IDENTITY, **identity}, resuming=True)

    def stepped(self, steps: int) -> tuple[ShrinkMethod, ShrinkState]:
        """Returns the state after some steps, made by hand."""
        feed = TensorFeed(Dataset(*self.data), batch_size=12, seed=0)
        method = ShrinkMethod(self.config, task=Classification(), steps=feed.steps)
        state = method.init(self.graph)
        batches = (batch for epoch in range(99) for batch in feed.epoch(epoch))
        for _, batch in zip(range(steps), batches, strict=False):
            method.step(state, batch)
        return method, state


def numbers(tree: Any) -> Iterator[Any]:
    """All leaves of a state, in order, but for the time that collections took."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key != "seconds":
                yield from numbers(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from numbers(value)
    else:
        yield tree


def assert_same(first: ShrinkState | None, second: ShrinkState | None) -> None:
    assert first is not None and second is not None
    a, b = list(numbers(first.tree())), list(numbers(second.tree()))
    assert len(a) == len(b)
    for one, two in zip(a, b, strict=True):
        assert torch.equal(one, two) if isinstance(one, Tensor) else one == two


GRADIENT = {"penalty": "subgradient", "start": "sampled"}
MOMENTUM = {"optimizer": "SGD", "momentum": 0.9, "lr": 0.1}
SLOW = {"optimizer": "SGD", "schedule": "constant", "lam_schedule": "constant", "epochs": 14}
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "proximal": (mlp, {"lam": 0.2, "switch_rate": 0.5}),
    "momentum": (mlp, {"lam": 0.2, "switch_rate": 0.5, **MOMENTUM}),
    "normalised": (normalised, {"lam": 0.15, "switch_rate": 0.8, "optimizer": "AdamW"}),
    "weighed": (
        mlp,
        {"lam": 0.12, "switch_rate": 0.5, "weigh": "params", "lam_schedule": "warmup"},
    ),
    "sign-change": (mlp, {"lam": 0.2, **GRADIENT, **MOMENTUM}),
    "sign-variance": (
        normalised,
        {"lam": 0.2, "kill": "sign-variance", **GRADIENT, **MOMENTUM},
    ),
    "hysteresis": (mlp, {"lam": 1.0, "lr": 0.01, "kill": "hysteresis", **GRADIENT, **SLOW}),
    "threshold": (mlp, {"lam": 0.5, "lr": 0.03, "kill": "threshold", **GRADIENT}),
    "target": (mlp, {"size": "120 params"}),
    "target, normalised": (normalised, {"size": "500 bytes", "optimizer": "NAdam"}),
    "target, no decay": (normalised, {"size": "90 macs", "optimizer": "RMSprop", "lam2": 0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_resumed_run_is_bit_equal(name: str, blobs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """Killed in mid-epoch, after the first death and after more."""
    net, settings = CASES[name]
    whole = Job(blobs, net, **settings)
    expected = whole.run()
    assert expected.events and min(expected.widths.values()) > 0
    steps = [event.step for event in expected.events]
    stops = [steps[0] + 1, steps[len(steps) // 2] + 1]
    for stop in sorted({stop + (stop % STEPS == 0) for stop in stops}):
        path = tmp_path / f"at-{stop}"
        Job(blobs, net, **settings).killed_at(stop, path)
        torch.manual_seed(99)  # a new process has other global random numbers
        rest = Job(blobs, net, **settings)
        found = rest.resumed(path)
        assert_same(rest.state, whole.state)
        assert found.widths == expected.widths and found.alive == expected.alive
        assert [e.step for e in found.events] == steps
        assert [e.gone for e in found.events] == [e.gone for e in expected.events]


def test_a_run_killed_twice_is_bit_equal(blobs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    net, settings = CASES["target"]
    whole, path = Job(blobs, net, **settings), tmp_path / "state"
    whole.run()
    Job(blobs, net, **settings).killed_at(7, path)
    second = Job(blobs, net, **settings)
    os_kill = lambda step, total: os.kill(os.getpid(), signal.SIGTERM) if step == 11 else None  # noqa: E731
    with pytest.raises(Interrupted, match="stopped at step 11"):
        second.run(checkpoint=path, identity=IDENTITY, resuming=True, advance=os_kill)
    rest = Job(blobs, net, **settings)
    rest.resumed(path)
    assert_same(rest.state, whole.state)


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    whole = Job(blobs, **CASES["proximal"][1])
    expected = whole.run(checkpoint=tmp_path / "state", identity=IDENTITY)
    again = Job(blobs, **CASES["proximal"][1])
    found = again.resumed(tmp_path / "state")
    assert again.state is None, "an epoch was trained"
    assert found.widths == expected.widths and found.plan == expected.plan
    assert len(found.events) == len(expected.events) > 0
    for one, two in zip(found.net.parameters(), expected.net.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_lenient_network_is_resumed_too(blobs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """The graph is not read anew from the smaller network, of which less is known."""

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            inner = self.one(x).relu()
            out: Tensor = self.head(self.two(inner).view(-1, 6).relu())
            return out

    settings = {"lam": 0.4, "switch_rate": 0.5, "lenient": True}
    whole = Job(blobs, Written, **settings)
    assert whole.run().widths["one"] < 8
    Job(blobs, Written, **settings).killed_at(16, tmp_path / "state")
    rest = Job(blobs, Written, **settings)
    rest.resumed(tmp_path / "state")
    assert_same(rest.state, whole.state)


def test_resume_with_other_settings_is_refused(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    Job(blobs, **CASES["proximal"][1]).killed_at(16, tmp_path / "state")
    with pytest.raises(CheckpointError, match=r"other settings \(lam: 0.3 -> 0.1\); resume with"):
        Job(blobs, **CASES["proximal"][1]).resumed(tmp_path / "state", lam=0.1)


@pytest.mark.parametrize("stop", [2, 16])
def test_resume_of_another_network_is_refused(
    stop: int, blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """A wider one, too, into which what is left would fit."""

    def of(*widths: int) -> Callable[[], nn.Module]:
        return lambda: build(f"mlp:{'-'.join(map(str, widths))}", input_shape=(5,), n_outputs=3)

    Job(blobs, of(14, 9), **CASES["proximal"][1]).killed_at(stop, tmp_path / "state")
    for widths, message in (
        ((11, 9), r"leaf fc1.bias is \[11\], the saved run began with \[14\]"),
        ((15, 9), r"leaf fc1.bias is \[15\], the saved run began with \[14\]"),
        ((14,), r"leaf fc2.bias is \[3\], the saved run began with \[9\]"),
        ((14, 9, 4), r"leaf fc3.bias is \[4\], the saved run began with \[3\]"),
    ):
        with pytest.raises(CheckpointError, match=f"state: does not fit this network .{message}"):
            Job(blobs, of(*widths), **CASES["proximal"][1]).resumed(tmp_path / "state")


@pytest.mark.slow
def test_the_state_can_be_taken_back_at_any_step(blobs: tuple[Tensor, Tensor]) -> None:
    for name, (net, settings) in CASES.items():
        job = Job(blobs, net, **settings)
        state = job.stepped(14)[1]
        again = Job(blobs, net, **settings)
        other = again.stepped(0)[1]
        other.restore(state.tree())
        assert_same(state, other)
        assert other.graph.groups == state.graph.groups, name
        assert other.graph.widths == {g: len(left) for g, left in other.alive.items()}


def test_an_event_is_written_as_it_is_read(blobs: tuple[Tensor, Tensor]) -> None:
    state = Job(blobs, **CASES["proximal"][1]).stepped(20)[1]
    assert len(state.events) > 1
    for event in state.events:
        assert Event.from_json(event.to_json(), "checkpoint", "delete it") == event


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_what_is_alive_and_what_is_gone_make_up_the_start(
    name: str, blobs: tuple[Tensor, Tensor]
) -> None:
    """Channels in the log are numbered as at the start, and the plan leads from the start to the end."""
    net, settings = CASES[name]
    job = Job(blobs, net, **settings)
    widths = job.graph.widths
    done = job.run()
    assert done.events
    for group, width in widths.items():
        gone = [channel for event in done.events for channel in event.gone.get(group, ())]
        assert sorted([*gone, *done.alive[group]]) == list(range(width))
        assert done.widths[group] == len(done.alive[group])
    assert done.widths == dict(done.events[-1].widths)
    fresh = Job(blobs, net, **settings).graph.traced
    cut_module(done.plan, fresh)
    assert leaf_shapes(fresh) == leaf_shapes(done.net)
    assert [event.step for event in done.events] == sorted({event.step for event in done.events})
    for event in done.events:
        assert event.rule == ("size" if "size" in settings else job.config.rule)
        assert event.difference <= 1e-5
        assert event.step % 3 == 0 or event.step == STEPS * job.config.epochs


def test_survivors_are_the_rows_that_the_log_names(blobs: tuple[Tensor, Tensor]) -> None:
    """Weights that nothing moves are found again at the places that ``alive`` says."""
    job = Job(blobs, lam=0.2, switch_rate=0.5, lam2=0.0, lr=1e-30)
    before = {name: leaf.detach().clone() for name, leaf in strip(job.graph.traced).items()}
    done = job.run()
    assert 1 < done.widths["0"] < 14 and 1 < done.widths["2"] < 9
    rows, columns = list(done.alive["2"]), list(done.alive["0"])
    after = dict(done.net.named_parameters())
    assert torch.equal(after["2.weight"], before["2.weight"][rows][:, columns])
    assert torch.equal(after["0.weight"], before["0.weight"][columns])


def test_scores_rules_and_pulls_go_with_the_channels(blobs: tuple[Tensor, Tensor]) -> None:
    """They belong to survivors: before and after a collection the same numbers, but for those that went."""
    job = Job(blobs, normalised, size="500 bytes", collect_every=1000)
    method, state = job.stepped(11)  # the first choice is made half-way, at step 10
    switches = switches_of(state.graph)
    assert state.fading and not state.events
    before, alive = dict(state.scores), dict(state.alive)
    method._collect(state)
    assert state.events
    for group, held in switches.items():
        left = [alive[group].index(channel) for channel in state.alive[group]]
        for name, _ in held:
            assert torch.equal(state.scores[name], before[name][left])
            assert len(state.pulls[name]) == len(thetas(state.graph)[name]) == len(left)


def test_lambda_follows_its_schedule_from_the_first_step(blobs: tuple[Tensor, Tensor]) -> None:
    for schedule, first, last in (
        ("warmup", 0.5, 1.0),
        ("constant", 1.0, 1.0),
        ("cosine", 1.0, 0.0),
    ):
        job = Job(blobs, lam=0.01, lam_schedule=schedule)
        assert job.stepped(0)[1].lam == pytest.approx(0.01 * first)
        job.run()
        assert job.state is not None
        assert job.state.lam == pytest.approx(0.01 * last, abs=1e-12)
    lams = [Job(blobs, lam=0.01).stepped(steps)[1].lam for steps in range(4)]
    expected = [0.005 * (1 + math.cos(math.pi * step / 20)) for step in range(4)]
    assert lams == pytest.approx(expected)


def test_the_step_of_a_switch_is_proximal_whatever_moves_the_weights(
    blobs: tuple[Tensor, Tensor],
) -> None:
    """θ <- soft threshold (θ - rate dL/dθ): one step from 1, seen from outside."""
    x, y = blobs[0][:12], blobs[1][:12]
    found = []
    for optimizer, lr in (("Adam", 1e-3), ("SGD", 1.0)):
        job = Job(blobs, lam=0.1, switch_rate=0.5, optimizer=optimizer, lr=lr, start="unit")
        method, state = job.stepped(0)
        loss = nn.functional.cross_entropy(state.module(x), y)
        name, theta = next(iter(thetas(state.graph).items()))
        (gradient,) = torch.autograd.grad(loss, theta)
        method.step(state, (x, y))
        wanted = 1 - 0.5 * gradient
        wanted = wanted.sign() * (wanted.abs() - 0.5 * 0.1).clamp_min(0)
        assert torch.allclose(thetas(state.graph)[name], wanted, atol=1e-6)
        found.append(thetas(state.graph)[name].detach())
    assert torch.equal(*found)


def test_the_terms_of_a_step(blobs: tuple[Tensor, Tensor]) -> None:
    job = Job(blobs, lam=0.1, weigh="params", start="unit")
    method, state = job.stepped(0)
    loss = nn.functional.cross_entropy(state.module(blobs[0]), blobs[1])
    found = method.step(state, blobs)
    assert float(found["fit"]) == pytest.approx(loss.item())
    n_channels = 14 + 9
    assert float(found["complexity"]) == pytest.approx(0.1 * n_channels), "weights have the mean 1"


@pytest.mark.parametrize("settings", [{"lam": 0.1}, {"size": "100 params"}, {"lam2": 0.1}])
def test_frozen_parameters_stay(settings: dict[str, Any], blobs: tuple[Tensor, Tensor]) -> None:
    """They are neither trained nor decayed; what is left of them is what was there."""

    def frozen() -> nn.Module:
        net = mlp()
        net[0].weight.requires_grad_(False)
        return net

    job = Job(blobs, frozen, **{"lam": 0.2, "switch_rate": 0.5, **settings})
    before = job.graph.traced.get_parameter("0.weight").detach().clone()
    done = job.run()
    after = done.net.get_parameter("0.weight")
    assert not after.requires_grad
    assert torch.equal(after, before[list(done.alive["0"])])
    assert all(p.requires_grad for name, p in done.net.named_parameters() if name != "0.weight")


def test_matrices_decay_and_biases_and_scales_stay(blobs: tuple[Tensor, Tensor]) -> None:
    """A step takes 2 rate λ₂ of each weight; with a gradient of zero nothing else moves."""
    job = Job(blobs, normalised, lam=0.0, lam2=0.1, lr=0.01, schedule="constant", optimizer="SGD")
    method, state = job.stepped(0)
    before = {name: leaf.detach().clone() for name, leaf in strip(state.graph.traced).items()}
    method.step(state, Batch(*blobs, torch.zeros(len(blobs[1]))))
    for name, leaf in strip(state.graph.traced).items():
        kept = 1 - 2 * 0.01 * 0.1 if leaf.ndim > 1 else 1.0
        torch.testing.assert_close(leaf.detach(), kept * before[name])


def test_the_networks_of_the_user_is_left_alone(blobs: tuple[Tensor, Tensor]) -> None:
    job = Job(blobs, normalised, lam=0.2, switch_rate=0.8)
    before = {name: leaf.clone() for name, leaf in job.start.state_dict().items()}
    job.run()
    after = job.start.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(leaf, before[name]) for name, leaf in after.items())
    assert job.start.training and all(p.grad is None for p in job.start.parameters())


def test_a_loss_that_is_not_finite_is_named(blobs: tuple[Tensor, Tensor]) -> None:
    job = Job(blobs)
    method, state = job.stepped(3)
    with torch.no_grad():
        thetas(state.graph)["switch_2"][4] = math.nan
    with pytest.raises(
        NonFiniteError, match=r"step 3: the loss is nan; not finite: switch_2.theta;"
    ):
        method.step(state, blobs)
    x = blobs[0].clone()
    x[7, 1] = math.inf
    method, state = Job(blobs).stepped(2)
    with pytest.raises(NonFiniteError, match=r"step 2: the loss is nan; not finite: no parameter;"):
        method.step(state, (x, blobs[1]))


def test_a_last_step_that_leaves_no_numbers_is_refused(blobs: tuple[Tensor, Tensor]) -> None:
    """Its own loss is finite, and no step comes after it."""

    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.layer(x)
            out: Tensor = self.head(1e6 * (h**7 - h**5))
            return out

    with pytest.raises(NonFiniteError, match=r"step 1: after the last step outputs are no numbers"):
        nd.shrink(Steep(), blobs, lam=0.01, epochs=1, batch_size=1024)


@pytest.mark.parametrize("penalty", ["proximal", "subgradient"])
def test_a_gradient_that_is_not_finite_is_named(penalty: str, blobs: tuple[Tensor, Tensor]) -> None:
    """The loss is finite, its derivative is not: sqrt at 0."""

    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head((self.layer(x).relu() * 0).sqrt())
            return out

    method, state = Job(blobs, Root, penalty=penalty).stepped(0)
    with pytest.raises(NonFiniteError, match=r"step 0: switch switch_layer: theta or its gradient"):
        method.step(state, blobs)


def test_an_optimizer_unknown_to_the_surgery_is_refused_at_the_start(
    blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unheard(torch.optim.Optimizer):
        def __init__(self, params: Any, lr: float = 1e-3) -> None:
            super().__init__(params, {"lr": lr})

    monkeypatch.setattr(torch.optim, "Unheard", Unheard, raising=False)
    with pytest.raises(
        ConfigError, match=r"optimizer Unheard is unknown to the surgery; known: .*SGD"
    ):
        Job(blobs, optimizer="Unheard").stepped(0)
    monkeypatch.setitem(optimizers._KNOWN, Unheard, {})
    Job(blobs, optimizer="Unheard").stepped(0)


def test_a_chain_keeps_its_last_channels_alive(blobs: tuple[Tensor, Tensor]) -> None:
    """However large λ is: a network whose outputs depend on nothing is no network."""
    for minimum in (1, 3):
        job = Job(blobs, lam=100.0, minimum=minimum, lam_schedule="constant", epochs=2)
        done = job.run()
        assert done.widths == {"0": minimum, "2": minimum}
        assert all(bool((theta != 0).all()) for theta in thetas(done.graph).values())
        assert job.state is not None and job.state.step == 10
        assert all(bool(leaf.isfinite().all()) for leaf in done.net.parameters())


def test_updates_are_counted_with_the_widths_of_their_time(blobs: tuple[Tensor, Tensor]) -> None:
    job, counts = Job(blobs, **CASES["proximal"][1]), []
    method, state = job.stepped(0)
    feed = TensorFeed(Dataset(*blobs), batch_size=12, seed=0)
    for epoch in range(4):
        for batch in feed.epoch(epoch):
            counts.append(sum(p.numel() for p in state.module.parameters()))
            method.step(state, batch)
    assert state.n_updates == sum(counts) and len(set(counts)) > 2


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"lam": 0.3}, {"size": "60 params"}, {"size": "0.5 ms"}])
def test_two_networks_through_one_method_do_not_mix(
    settings: dict[str, Any], blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method remembers nothing: what two networks were given in turn is what each is given alone."""
    monkeypatch.setattr("netdial.channels.clock.quiet_ms", by_weights)
    config = make(ShrinkConfig, {"epochs": 6, "batch_size": 60, **settings})

    def method() -> ShrinkMethod:
        return ShrinkMethod(config, task=Classification(), steps=1)

    def begun(method: ShrinkMethod, width: int) -> ShrinkState:
        torch.manual_seed(width)
        net = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3))
        return method.init(prepare(net, blobs[0][:2], config))

    shared, alone = method(), method()
    before = {name: repr(value) for name, value in vars(shared).items()}
    together = [begun(shared, 12), begun(shared, 17)]
    for _ in range(6):
        for state in together:
            shared.step(state, blobs)
    assert {name: repr(value) for name, value in vars(shared).items()} == before
    for width, mixed in zip((12, 17), together, strict=True):
        state = begun(alone, width)
        for _ in range(6):
            alone.step(state, blobs)
        assert state.plan == mixed.plan and state.alive == mixed.alive and state.lam == mixed.lam
        assert state.n_updates == mixed.n_updates
        for name, leaf in state.module.state_dict().items():
            assert torch.equal(leaf, mixed.module.state_dict()[name])
        alone = method()


def by_weights(nets: Sequence[nn.Module], x: Tensor) -> list[float]:
    """Milliseconds that go by the number of weights."""
    return [0.1 + 5e-3 * sum(p.numel() for p in net.parameters()) for net in nets]
