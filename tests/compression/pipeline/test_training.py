"""Training of what is left: gradients of shared values, weights that stay gone, criteria and schedules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import netdial as nd
from netdial.compression.pipeline.leaves import divide
from netdial.compression.pipeline.run import _pull
from netdial.compression.pipeline.sparsify import Sparsify, bits_of, criteria, damage_of, thinned
from netdial.compression.pipeline.training import Book, SqueezeMethod, apart
from netdial.core.errors import ConfigError, NonFiniteError
from netdial.data.dataset import Dataset
from netdial.family import Family, Fields
from netdial.objective import OBJECTIVES
from netdial.task import named
from netdial.train.config import TrainConfig
from netdial.train.feed import Batch, TensorFeed
from netdial.train.loop import resume, train
from netdial.train.session import Interrupted

TASK = named("classification")


def problem(count: int = 60) -> tuple[nn.Sequential, Batch]:
    source = torch.Generator().manual_seed(0)
    net = nd.build("mlp:8", input_shape=(5,), n_outputs=3, seed=0).double()
    x = torch.randn(count, 5, generator=source, dtype=torch.float64)
    return net, Batch(x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long())


def book_of(leaf: Tensor, k: int = 3) -> Book:
    codes = torch.randint(0, k + 1, leaf.shape, generator=torch.Generator().manual_seed(1))
    return Book(codes, nn.Parameter(torch.tensor([0.0, -0.4, 0.3, 0.7], dtype=leaf.dtype)))


def test_the_gradient_of_a_value_is_the_sum_over_the_weights_that_have_it() -> None:
    net, batch = problem()
    weight = net.get_parameter("fc1.weight")
    book = book_of(weight)
    free = book.values.detach().clone().requires_grad_()

    def loss(values: Tensor) -> Tensor:
        tree = dict(net.named_parameters()) | {"fc1.weight": values[book.codes]}
        return TASK.nll(functional_call(net, tree, (batch.x,)), batch.y).mean()

    (wanted,) = torch.autograd.grad(loss(free), free)
    with torch.no_grad():
        weight.copy_(book.dense())
    TASK.nll(net(batch.x), batch.y).mean().backward()
    found = book.gradient(weight.grad)
    assert found[0] == 0
    torch.testing.assert_close(found[1:], wanted[1:])
    for place in (1, 2, 3):
        step = torch.zeros(4, dtype=torch.float64)
        step[place] = 1e-6
        slope = (
            loss(book.values.detach() + step) - loss(book.values.detach() - step)
        ).detach() / 2e-6
        assert float(found[place]) == pytest.approx(float(slope), rel=1e-5, abs=1e-9)


def test_a_step_moves_shared_values_and_keeps_what_is_gone_at_0() -> None:
    net, batch = problem()
    masks = {"fc2.weight": torch.rand(3, 8, generator=torch.Generator().manual_seed(2)) > 0.5}
    books = {"fc1.weight": book_of(net.get_parameter("fc1.weight"))}
    method = SqueezeMethod(TrainConfig(epochs=1, lr=0.05), TASK, steps=10)
    state = method.init(net, masks, books)
    before, losses = books["fc1.weight"].values.detach().clone(), []
    for _ in range(10):
        losses.append(float(method.step(state, batch)["fit"]))
    assert losses[-1] < losses[0]
    assert not torch.equal(before[1:], books["fc1.weight"].values[1:])
    assert len(net.get_parameter("fc1.weight").unique()) <= 4
    assert torch.equal(net.get_parameter("fc1.weight") == 0, books["fc1.weight"].codes == 0)
    assert not net.get_parameter("fc2.weight")[~masks["fc2.weight"]].any()
    assert net.get_parameter("fc2.weight")[masks["fc2.weight"]].all()


def test_a_loss_that_is_no_number_stops_training_and_moves_nothing() -> None:
    net, batch = problem()
    method = SqueezeMethod(TrainConfig(epochs=1), TASK, steps=1)
    state = method.init(net)
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(NonFiniteError, match="step 0"):
        method.step(state, batch._replace(x=batch.x * torch.inf))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_decay_and_a_teacher_are_what_they_say() -> None:
    net, batch = problem()
    plain = SqueezeMethod(
        TrainConfig(epochs=1, optimizer="SGD", lr=1.0, schedule="constant"), TASK, 1
    )
    pulled = SqueezeMethod(plain.config, TASK, 1, decay=0.1)
    start = net.get_parameter("fc1.weight").detach().clone()
    ends = []
    for method in (plain, pulled):
        again, _ = problem()
        state = method.init(again)
        method.step(state, batch)
        ends.append(again.get_parameter("fc1.weight").detach())
    torch.testing.assert_close(ends[0] - ends[1], 0.1 * start)
    same = torch.randn(4, 3, dtype=torch.float64)
    assert float(apart(TASK, same, same + 2.0)) == pytest.approx(0, abs=1e-12)
    assert float(apart(named("regression"), same[:, :1], same[:, :1] + 2.0)) == pytest.approx(2.0)


def test_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    data = Dataset(problem()[1].x.float(), problem()[1].y)

    def start() -> tuple[SqueezeMethod, object, TensorFeed]:
        net = nd.build("mlp:8", input_shape=(5,), n_outputs=3, seed=0)
        masks = {
            n: torch.ones_like(net.get_parameter(n), dtype=torch.bool) for n in divide(net).weights
        }
        feed = TensorFeed(data, batch_size=16, seed=0)
        prune = Sparsify(
            damage_of("gradient", tuple(masks)), tuple(masks), 120.0, bits_of(masks, 3.0), 8
        )
        method = SqueezeMethod(TrainConfig(epochs=4, lr=0.01), TASK, feed.steps, prune, 0.9)
        return method, method.init(net, masks), feed

    method, whole, feed = start()
    train(method, whole, feed, epochs=4, report=lambda _: None)
    method, part, feed = start()

    def stop(_: object) -> None:
        raise Interrupted

    path = tmp_path / "state"
    train(method, part, feed, epochs=2, report=lambda _: None, checkpoint=path)
    method, again, feed = start()
    progress = resume(again, path, {})
    train(method, again, feed, epochs=4, progress=progress, report=lambda _: None)
    for one, other in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)
    assert all(torch.equal(whole.masks[n], again.masks[n]) for n in whole.masks)


def test_thinning_meets_the_budget_takes_the_worthless_and_brings_nothing_back() -> None:
    source = torch.Generator().manual_seed(3)
    masks = {
        "a": torch.rand(20, 30, generator=source) > 0.3,
        "b": torch.rand(5, 20, generator=source) > 0.3,
    }
    damage = {name: torch.rand(mask.shape, generator=source) for name, mask in masks.items()}
    damage["a"][:, 7] = 100.0
    before = bits_of(masks, 3.0)
    for part in (0.8, 0.4, 0.1):
        found = thinned(damage, masks, part * before, 3.0)
        assert bits_of(found, 3.0) <= 1.02 * part * before
        assert all(not (found[n] & ~masks[n]).any() for n in masks)
        kept = min(int(found["a"].sum()), int(masks["a"][:, 7].sum()))
        assert int(found["a"][:, 7].sum()) >= 0.9 * kept, "what is worth most goes last"
    assert thinned(damage, masks, 2 * before, 3.0)["a"].equal(masks["a"])


@pytest.mark.parametrize("criterion", criteria())
def test_every_criterion_of_the_library_ranks_the_weights_of_a_network(criterion: str) -> None:
    net, batch = problem(40)
    net, data = net.float(), Dataset(batch.x.float(), batch.y)
    leaves = divide(net).weights
    spread = {n: torch.full_like(net.get_parameter(n), -2.0) for n in leaves}
    damage = damage_of(criterion, leaves, data, TASK, spread)
    state = SqueezeMethod(TrainConfig(epochs=1), TASK, 1, remembers=0.9).init(net)
    found = damage(state)
    assert {n: v.shape for n, v in found.items()} == {n: net.get_parameter(n).shape for n in leaves}
    assert all(bool((v >= 0).all()) for v in found.values())
    assert len(torch.cat([v.flatten() for v in found.values()]).unique()) > 5


def test_a_criterion_that_compares_with_a_posterior_needs_one() -> None:
    with pytest.raises(ConfigError, match=r"density.*posterior"):
        damage_of("density", ("fc1.weight",))
    with pytest.raises(ConfigError, match="magnitud"):
        damage_of("magnitud", ("fc1.weight",))


def test_leaves_are_weights_biases_and_what_stays_exact() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.norm = nn.BatchNorm1d(4)
            self.cell = nn.LSTM(4, 3)
            self.mix = nn.MultiheadAttention(4, 2)
            self.head = nn.Linear(4, 7)
            self.head.weight = self.embed.weight
            self.scale = nn.Parameter(torch.ones(()))

    found = divide(Net())
    assert {"embed.weight", "cell.weight_ih_l0", "cell.weight_hh_l0", "mix.in_proj_weight"} <= set(
        found.weights
    )
    assert "head.weight" not in found.shared + found.exact, "a tied tensor is one leaf"
    assert {"head.bias", "cell.bias_hh_l0", "mix.in_proj_bias"} <= set(found.biases)
    assert {"norm.weight", "norm.bias", "norm.running_var", "scale"} <= set(found.exact)
    assert "head.bias" in divide(Net(), biases=False).exact
    broken = Net()
    broken.head.bias.data[2] = torch.nan
    with pytest.raises(NonFiniteError, match=r"head\.bias: 1 of 7"):
        divide(broken)
    with pytest.raises(ConfigError, match="no weights"):
        divide(nn.LayerNorm(3))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_frozen_normalisation_keeps_its_statistics() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    for parameter in net[:2].parameters():
        parameter.requires_grad_(False)
    net[1].running_mean.fill_(0.25)  # type: ignore[operator, union-attr]
    data = (torch.randn(40, 5), torch.arange(40) % 3)
    net.eval()
    found = nd.compress(net, data, data, max_bytes=800, epochs=1, free=False).net
    means = [b for name, b in found.named_buffers() if name.endswith("running_mean")]
    assert torch.equal(means[0], torch.full((8,), 0.25))


@pytest.mark.parametrize("objective", ["l2", "scaled-kl", "scaled-prior"])
def test_the_decay_of_a_member_is_that_of_its_objective(objective: str) -> None:
    """Golden: half of it times ‖w‖² is what the objective says of the means, less what it says of 0."""
    family = Family(nn.Linear(3, 2), nd.FamilyConfig(objective=objective, prior_var=4.0))
    for lam in (0.1, 1.0, 5.0):
        nats = []
        for mean in (torch.ones(1, 8), torch.zeros(1, 8)):
            fields = Fields(family.layout, mean, None if objective == "l2" else torch.zeros(1, 8))
            nats.append(float(OBJECTIVES[objective](fields, torch.tensor([lam]), 4.0)))
        assert _pull(family, lam) / 2 * 8 == pytest.approx(nats[0] - nats[1], rel=1e-5)
