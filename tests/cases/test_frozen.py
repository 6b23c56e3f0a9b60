"""Settings that lie on tensors: frozen, shared, tied, double; networks that run again in backward; computed weights."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

import netdial as nd

from .situations import refused, right

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
SHORT: dict[str, Any] = {"epochs": 3, "batch_size": 16, "lr": 0.02}


def mlp(frozen: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    net[0].requires_grad_(not frozen)
    return net


def accuracy(net: nn.Module) -> float:
    return float((net.eval()(X).argmax(1) == Y).float().mean())


@right
def test_frozen_parameters_of_a_family_do_not_move() -> None:
    """A backbone with ``requires_grad=False``: exported at any λ it is what it was, still frozen; the head has learned."""
    family = nd.fit(mlp(frozen=True), (X, Y), **SHORT)
    for lam in (0.01, 1.0, 10.0):
        net = family.export(lam)
        assert torch.equal(net[0].weight, mlp()[0].weight) and not net[0].weight.requires_grad
        assert net[2].weight.requires_grad
    assert not torch.equal(family.export(0.01)[2].weight, mlp()[2].weight)


@right
def test_frozen_parameters_have_no_divergence() -> None:
    """With the first of two layers frozen, the KL at λ = 1 has the 18 numbers of the second alone."""
    whole, part = nd.Family(mlp()), nd.Family(mlp(frozen=True))
    assert (whole.layout.size, part.layout.size) == (58, 18)
    with torch.no_grad():
        assert float(part.kl([1.0])) < float(whole.kl([1.0]))


@right
def test_directly_trained_networks_keep_what_is_frozen() -> None:
    """``fit_direct`` leaves a frozen layer alone."""
    family = nd.fit_direct(mlp(frozen=True), (X, Y), lams=[0.01, 1.0], **SHORT)[0]
    assert torch.equal(family.export(1.0)[0].weight, mlp()[0].weight)


@right
def test_a_fine_tuned_member_keeps_what_is_frozen() -> None:
    """``finetune`` of a family with a frozen layer leaves it alone."""
    family = nd.fit(mlp(frozen=True), (X, Y), **SHORT)
    tuned = nd.finetune(family, 0.1, (X, Y), epochs=2, batch_size=16)
    assert torch.equal(tuned.export(0.1)[0].weight, mlp()[0].weight)


@right
def test_shrinking_keeps_what_is_frozen() -> None:
    """``shrink`` leaves the values of a frozen layer alone in the channels that stay."""
    small = nd.shrink(mlp(frozen=True), (X, Y), lam=1e-6, **SHORT).net
    found = dict(small.named_parameters())["0.weight"]
    rows = {tuple(row.tolist()) for row in mlp()[0].weight}
    assert len(found) and all(tuple(row.tolist()) in rows for row in found)


def deep(*frozen: int) -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)
    )
    for at in frozen:
        net[at].requires_grad_(False)
    return net


def check_kept(small: nn.Module, whole: nn.Module, *frozen: int) -> None:
    """Frozen layers are still frozen, and hold numbers of the whole network's alone."""
    before = dict(whole.named_parameters())
    for at in frozen:
        for name in (f"{at}.weight", f"{at}.bias"):
            part = small.get_parameter(name)
            assert not part.requires_grad and torch.isin(part, before[name]).all()


@pytest.mark.parametrize("frozen", [(0,), (0, 1), (3,), (5,)])
@right
def test_slimming_keeps_what_is_frozen(frozen: tuple[int, ...]) -> None:
    """``slim`` cuts rows and columns of frozen layers and moves no value: constants are not folded into a frozen bias."""
    whole = deep(*frozen)
    small = nd.slim(whole, share=0.5, data=(X, Y))
    check_kept(small.net, whole, *frozen)
    assert small.n_params < sum(p.numel() for p in whole.parameters())
    if 3 in frozen:
        assert any("frozen" in row.why for row in small.rows)


@right
def test_slimming_a_member_keeps_what_is_frozen() -> None:
    """``slim`` of a member of a family with ``freeze=`` leaves the values of that layer alone."""
    net = deep()
    family = nd.fit(net, (X, Y), freeze=("3.*",), **SHORT)
    check_kept(nd.slim(family, lam=1.0, share=0.5, data=(X, Y)).net, net, 3)


@pytest.mark.parametrize("how", ["requires_grad", "freeze"])
@right
def test_shrinking_deeper_networks_keeps_what_is_frozen(how: str) -> None:
    """``shrink`` removes channels of a frozen layer and moves no value of it, said either way."""
    given = deep(3) if how == "requires_grad" else deep()
    options = {} if how == "requires_grad" else {"freeze": ("3.*",)}
    found = nd.shrink(given, (X, Y), size="60 params", **options, **SHORT)
    assert found.n_params < sum(p.numel() for p in given.parameters())
    check_kept(found.net, given, 3)


@right
def test_freeze_by_pattern() -> None:
    """``freeze=("0.*",)`` is ``requires_grad=False`` for those parameters, and the network given is left as it was."""
    net = mlp()
    family = nd.fit(net, (X, Y), freeze=("0.*",), **SHORT)
    assert torch.equal(family.export(1.0)[0].weight, net[0].weight)
    assert net[0].weight.requires_grad


@refused("9.*")
def test_freeze_by_a_pattern_that_means_nothing() -> None:
    """A pattern that matches no parameter is a mistake."""
    nd.fit(mlp(), (X, Y), freeze=("9.*",), **SHORT)


@right
def test_shared_parameters_are_trained_and_equal_at_every_lam() -> None:
    """``shared=("0.*",)``: the layer moves and is the same at both ends of the range; the other one differs."""
    family = nd.fit(mlp(), (X, Y), shared=("0.*",), **SHORT)
    low, high = family.export(0.01), family.export(10.0)
    assert torch.equal(low[0].weight, high[0].weight)
    assert not torch.equal(low[0].weight, mlp()[0].weight)
    assert not torch.equal(low[2].weight, high[2].weight)


@right
def test_frozen_batch_norm_keeps_its_statistics() -> None:
    """A frozen BatchNorm layer has the running mean that it came with."""
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    net[1].running_mean.fill_(0.25)
    net[1].requires_grad_(False)
    family = nd.fit(net, (X, Y), **SHORT)
    assert torch.equal(family.export(1.0)[1].running_mean, torch.full((8,), 0.25))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.b(torch.relu(self.a(x)))))


@right
def test_tied_parameters_stay_tied_and_count_once() -> None:
    """Two layers with one weight matrix: 16 + 4 + 4 + 10 numbers, and one tensor in the exported network."""
    family = nd.fit(Tied(), (X, Y), **SHORT)
    net = family.export(1.0)
    assert net.a.weight is net.b.weight
    assert family.n_params == 34


@right
def test_a_double_network_stays_double() -> None:
    """Parameters in float64 are float64 on export."""
    family = nd.fit(mlp().double(), (X.double(), Y), **SHORT)
    assert {p.dtype for p in family.export(1.0).parameters()} == {torch.float64}


@refused("float16")
def test_half_precision_parameters() -> None:
    """Posteriors of half-precision numbers are not trained; autocast is what is meant."""
    nd.fit(mlp().half(), (X, Y), **SHORT)


@refused("float16")
def test_half_precision_parameters_in_shrink() -> None:
    """The optimiser's smallest numbers are 0 in float16, and training overflows."""
    nd.shrink(mlp().half(), (X.half(), Y), size="50 params", epochs=1)


class Again(nn.Module):
    """A network whose hidden part is run again in backward."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.body, self.how = mlp(), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "plain":
            return self.body(x)
        hidden = checkpoint(self.body[:2], x, use_reentrant=self.how == "reentrant")
        return self.body[2](hidden)


@pytest.mark.parametrize("how", ["not reentrant", "reentrant"])
@right
def test_activation_checkpointing_of_the_first_layer(how: str) -> None:
    """``checkpoint`` trains the family that the network without it trains, in both of torch's ways and without a warning."""
    plain, found = (nd.fit(Again(way), (X, Y), **SHORT).at(0.1) for way in ("plain", how))
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


@right
def test_activation_checkpointing_is_measured_without_a_warning() -> None:
    """Whatever needs no gradients says nothing of them: evaluation, predictions, surfaces, evidence."""
    family = nd.Family(Again("reentrant"))
    nd.evaluate(family, (X, Y), lams=[1.0])
    nd.surface(family, (X, Y), lams=[1.0], shares=[0.0, 0.5], n_samples=2)
    nd.assess(family, (X, Y), lams=[1.0], by=["elbo"], n_samples=2)


@right
def test_activation_checkpointing_with_reentry() -> None:
    """``checkpoint(use_reentrant=True)`` of a part whose inputs have gradients trains alike, too."""

    class Late(Again):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.body[0](x)
            if self.how != "plain":
                return checkpoint(self.body[1:], hidden, use_reentrant=True)
            return self.body[1:](hidden)

    plain, found = (nd.fit(Late(how), (X, Y), **SHORT).at(0.1) for how in ("plain", "reentrant"))
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


@right
def test_a_mask_of_utils_prune_is_kept() -> None:
    """A layer pruned by ``torch.nn.utils.prune`` to 16 zeros keeps them at every λ, and the network learns."""
    net = mlp()
    prune.l1_unstructured(net[0], "weight", amount=0.5)
    net(X)
    zeros = net[0].weight == 0
    family = nd.fit(net, (X, Y), epochs=12, batch_size=16, lr=0.05)
    for lam in (0.01, 10.0):
        member = family.export(lam)
        member(X)
        assert bool((member[0].weight[zeros] == 0).all()) and int(zeros.sum()) == 16
    assert accuracy(family.export(0.01)) > 0.85


def old_norm(net: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(net)


@right
def test_old_weight_norm_trains() -> None:
    """``torch.nn.utils.weight_norm`` after a forward pass (a computed tensor lies on the layer): the family learns."""
    net = mlp()
    old_norm(net[0])
    net(X)
    assert accuracy(nd.fit(net, (X, Y), epochs=12, batch_size=16, lr=0.05).export(0.01)) > 0.85


@right
def test_parametrised_weight_norm_trains() -> None:
    """``parametrizations.weight_norm``: the family learns."""
    net = mlp()
    parametrizations.weight_norm(net[0])
    assert accuracy(nd.fit(net, (X, Y), epochs=12, batch_size=16, lr=0.05).export(0.01)) > 0.85


@right
def test_channels_of_computed_weights() -> None:
    """A weight that is computed from others is made plain, which is said; the user's network keeps its norm."""
    net = mlp()
    parametrizations.weight_norm(net[0])
    before = net(X)
    with pytest.warns(UserWarning, match=r"0\.weight"):
        small = nd.slim(net, share=0.5, example=X)
    assert torch.equal(net(X), before)
    assert hasattr(net[0], "parametrizations")
    count = [sum(p.numel() for p in one.parameters()) for one in (small.graph.traced, mlp())]
    assert count[0] < count[1]


class Words(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(11, 6, **options), nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.table(tokens).mean(1))


@right
def test_sparse_embeddings_train() -> None:
    """``Embedding(sparse=True)`` gives the family that a dense one gives."""
    tokens = torch.randint(0, 11, (64, 5), generator=torch.Generator().manual_seed(0))
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        found.append(nd.fit(Words(sparse=sparse), (tokens, Y), **SHORT).at(1.0)["table.weight"])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@right
def test_an_embedding_that_shortens_its_rows_trains() -> None:
    """``Embedding(max_norm=1)`` changes its weight in place at each run: members train, and run as they are exported."""
    tokens = torch.randint(0, 11, (64, 5), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(11, 4, max_norm=1.0), nn.Flatten(), nn.Linear(20, 2))
    family = nd.fit(net, (tokens, Y), **SHORT)
    torch.testing.assert_close(family(tokens, lam=1.0), family.export(1.0)(tokens))


@refused("Lazy")
def test_lazy_layers() -> None:
    """A lazy layer has no parameters yet; the cure is a forward pass."""
    nd.fit(nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2)), (X, Y), **SHORT)


@refused("DataParallel", "module")
def test_data_parallel() -> None:
    """``DataParallel`` is refused; its ``module`` is the network."""
    nd.fit(nn.DataParallel(mlp()), (X, Y), **SHORT)


class Remembers(nn.Module):
    """A network that keeps its last activation, which cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = mlp(), None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.body[:2](x)
        return self.body[2](self.last)


@right
def test_a_network_that_keeps_activations_is_copied() -> None:
    """A forward pass left a tensor with a history on the network; it trains all the same."""
    net = Remembers()
    net(X)
    assert accuracy(nd.fit(net, (X, Y), epochs=12, batch_size=16, lr=0.05).export(0.01)) > 0.85


@right
def test_running_a_member_by_the_family_is_running_the_exported_network() -> None:
    """``family(x, lam=1.0)`` equals ``family.export(1.0)(x)``, also for attention and normalisation."""
    for net, x in (
        (mlp(), X),
        (nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.PReLU(), nn.Linear(8, 2)), X),
        (
            nn.Sequential(
                nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True),
                nn.Flatten(),
                nn.Linear(12, 2),
            ),
            X[:, None].repeat(1, 3, 1),
        ),
    ):
        family = nd.fit(net, (x, Y), epochs=1, batch_size=32)
        torch.testing.assert_close(family(x, lam=1.0), family.export(1.0)(x), rtol=1e-4, atol=1e-5)
