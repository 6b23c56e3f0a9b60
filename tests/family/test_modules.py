"""Any module: each kind of layer trains, reaches all leaves, and its members are what is exported."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netdial.core.noise import Noise
from netdial.family.config import FamilyConfig
from netdial.family.family import Family

LAMS = (0.001, 0.7, 100.0)


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder transposed, and a layer used under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(5, 3)
        self.again = nn.Linear(5, 3)
        self.again.weight = self.encode.weight

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.encode(x).tanh() + self.again(x)
        return nn.functional.linear(hidden, self.encode.weight.T)


class Tokens(nn.Module):
    """Embedding, attention, normalisation, and a scalar parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=0)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embed(x)
        hidden = self.norm(hidden + self.attend(hidden, hidden, hidden, need_weights=False)[0])
        out: Tensor = self.head(hidden.mean(dim=1)) * self.temperature
        return out


class Recurrent(nn.Module):
    """Two LSTM layers, both ways. The layer keeps a list of its own of its weights, which must not go stale."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cells(x)[0].mean(dim=1))
        return out


def numbers(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(6, *shape, generator=torch.Generator().manual_seed(1))


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "tied": (Tied, numbers(5)),
    "tokens": (
        Tokens,
        lambda: torch.randint(1, 11, (6, 7), generator=torch.Generator().manual_seed(1)),
    ),
    "transformer": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), nn.Flatten()
        ),
        numbers(3, 8),
    ),
    "lstm": (Recurrent, numbers(4, 4)),
    "batchnorm1d": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)),
        numbers(5),
    ),
    "batchnorm2d": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 3)
        ),
        numbers(2, 5, 5),
    ),
    "groupnorm": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten()),
        numbers(2, 4, 4),
    ),
    "grouped-dilated": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=4, dilation=2), nn.PReLU(), nn.Flatten()),
        numbers(4, 6, 6),
    ),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 2, stride=2), nn.Flatten()),
        numbers(2, 3, 3),
    ),
    "bilinear": (lambda: _Bilinear(), numbers(5)),
    "parametrised": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)), nn.ReLU(), nn.Linear(3, 2)
        ),
        numbers(5),
    ),
}


class _Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Bilinear(5, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pair(x, x)
        return out


def family_of(name: str, **options: object) -> tuple[Family, Tensor]:
    """A family whose maps were moved at random, so that members differ, and an input."""
    torch.manual_seed(0)
    make, data = NETS[name]
    family = Family(make(), FamilyConfig(map="linear", **options))  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=source))
    return family, data()


def plain(name: str, family: Family, lam: float) -> nn.Module:
    """An ordinary network with a member's parameters and buffers loaded, made without the engine."""
    net = NETS[name][0]()
    missing = net.load_state_dict({**family.at(lam), **family.buffers_at(lam)}, strict=False)
    tied = {"again.weight"} if name == "tied" else set()
    assert set(missing.missing_keys) == tied and not missing.unexpected_keys
    return net.eval()


@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize("lam", LAMS)
def test_a_member_is_the_network_with_its_parameters(name: str, lam: float) -> None:
    family, x = family_of(name)
    family.eval()
    expected = plain(name, family, lam)(x)
    assert torch.allclose(family.outputs(family.at(lam), x, lam), expected, atol=1e-6)
    assert torch.allclose(family.export(lam)(x), expected, atol=1e-6)
    unit = family.domain.unit(torch.tensor([lam]))
    assert torch.allclose(family.run(x, family.fields(unit), unit), expected, atol=1e-4)


@pytest.mark.parametrize("name", list(NETS))
def test_members_differ_and_leave_no_trace_on_one_another(name: str) -> None:
    family, x = family_of(name)
    family.eval()
    first, last = (family.outputs(family.at(lam), x, lam) for lam in (LAMS[0], LAMS[-1]))
    assert not torch.allclose(first, last, atol=1e-3)
    assert torch.equal(family.outputs(family.at(LAMS[0]), x, LAMS[0]), first)


@pytest.mark.parametrize("name", list(NETS))
def test_a_training_pass_reaches_means_and_spreads_of_every_leaf(name: str) -> None:
    family, x = family_of(name)
    family.train()
    unit = torch.tensor([0.3], dtype=torch.float64)
    out = family.run(x, family.fields(unit), unit, Noise(0, 0, [0]))
    assert not torch.allclose(
        out, family.run(x, family.fields(unit), unit, Noise(0, 1, [0])), atol=1e-3
    )
    (out.square().sum() + out.sum()).backward()
    for mapped in (family.mean, family.log_std):
        for leaf, gradient in family.layout.split(mapped.pivots.grad).items():
            # the first bias before a normalisation has no effect on the output: its exact gradient is nothing
            silent = name == "batchnorm1d" and leaf == "0.bias"
            silent = silent or (leaf.endswith("in_proj_bias") and mapped is family.mean)
            assert bool(gradient.isfinite().all())
            assert silent or bool((gradient != 0).any()), leaf


@pytest.mark.parametrize("name", list(NETS))
def test_sampled_predictions_are_those_of_sampled_networks(name: str) -> None:
    """With a tiny spread the sampled pass is the mean pass; the noise never replaces the means."""
    family, x = family_of(name, log_std=-14.0)
    family.eval()
    with torch.no_grad():
        for parameter in family.log_std.parameters():
            parameter.fill_(-14.0)
    unit = torch.tensor([0.3], dtype=torch.float64)
    fields = family.fields(unit)
    assert torch.allclose(
        family.run(x, fields, unit, Noise(0, 0, [0])), family.run(x, fields, unit), atol=1e-3
    )


@pytest.mark.parametrize("name", list(NETS))
def test_an_export_is_an_ordinary_module(name: str) -> None:
    family, x = family_of(name)
    unit = torch.tensor([0.5], dtype=torch.float64)
    family.train()
    family.run(x, family.fields(unit), unit, Noise(0, 0, [0])).sum().backward()
    net = family.export(0.5)
    assert not net.training
    assert {type(m).__module__.split(".")[0] for m in net.modules()} <= {
        "torch",
        __name__.split(".")[0],
    } | {__name__}
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())
    net(x).sum().backward()
    before = net(x).detach()
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.zero_()
    assert torch.equal(net(x), before)


def test_tied_weights_are_one_leaf() -> None:
    family, _ = family_of("tied")
    assert family.layout.names == ("encode.weight", "encode.bias", "again.bias")
    net = family.export(1.0)
    assert net.again.weight is net.encode.weight


def test_a_transposed_weight_is_sampled_too() -> None:
    family, x = family_of("tied", log_std=0.0)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.weight.T)

    family = Family(Decoder(), FamilyConfig(map="linear", log_std=0.0))
    unit = torch.tensor([0.3], dtype=torch.float64)
    fields = family.fields(unit)
    assert not torch.allclose(
        family.run(x, fields, unit, Noise(0, 0, [0])), family.run(x, fields, unit)
    )


@pytest.mark.parametrize("mode", [True, False])
def test_attention_samples_its_weights_in_training_and_evaluation(mode: bool) -> None:
    """Evaluation mode has a fast path of its own in torch that reads the weights directly."""
    family, x = family_of("transformer")
    family.train(mode)
    unit = torch.tensor([0.3], dtype=torch.float64)
    with torch.no_grad():
        draws = [
            family.run(x, family.fields(unit), unit, Noise(0, step, [0])) for step in (0, 0, 1)
        ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2], atol=1e-3)


@pytest.mark.slow
def test_spread_of_recurrent_outputs_is_that_of_sampled_weights(seed: int) -> None:
    """The recurrence uses one weight sample for all steps: its outputs have the spread of exported samples."""
    family, x = family_of("lstm")
    family.eval()
    with torch.no_grad():
        for parameter in family.log_std.parameters():
            parameter.fill_(-2.0)
    unit, count = family.domain.unit(torch.tensor([0.7])), 400
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        engine = torch.stack(
            [family.run(x, family.fields(unit), unit, Noise(seed, i, [0])) for i in range(count)]
        )
        exact = torch.stack(
            [family.outputs(family.sample(0.7, source), x, 0.7) for _ in range(count)]
        )
    stderr = ((engine.var(dim=0) + exact.var(dim=0)) / count).sqrt()
    assert bool(((engine.mean(dim=0) - exact.mean(dim=0)).abs() < 5 * stderr).all())
    ratio = engine.var(dim=0) / exact.var(dim=0)
    assert bool(
        (ratio.log().abs() < 5 * (6 / count) ** 0.5).all()
    )  # kurtosis 6 bounds what is seen here


def test_batch_statistics_go_to_the_cell_of_their_complexity() -> None:
    family, x = family_of("batchnorm1d")
    family.train()
    unit = torch.tensor([0.3], dtype=torch.float64)
    family.run(x, family.fields(unit), unit)
    counts = [
        int(family.statistics.cell(c)["1.num_batches_tracked"]) for c in family.statistics.centres
    ]
    assert counts == [0, 0, 1, 0, 0, 0, 0, 0]
    hidden = nn.functional.linear(x, family.at(float(family.domain.lam(unit)))["0.weight"])
    hidden = hidden + family.at(float(family.domain.lam(unit)))["0.bias"]
    expected = 0.1 * hidden.mean(dim=0)
    assert torch.allclose(family.statistics.cell(0.3)["1.running_mean"], expected, atol=1e-6)
    assert int(family.net[1].num_batches_tracked) == 0, "the template is not touched"


def test_evaluation_does_not_update_statistics() -> None:
    family, x = family_of("batchnorm2d")
    family.eval()
    before = {k: v.clone() for k, v in family.statistics.state_dict().items()}
    unit = torch.tensor([0.3], dtype=torch.float64)
    family.run(x, family.fields(unit), unit)
    family.outputs(family.at(1.0), x, 1.0)
    assert all(torch.equal(v, before[k]) for k, v in family.statistics.state_dict().items())
