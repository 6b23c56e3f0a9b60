"""Networks as people bring them: copied with what they computed, or refused with the cure."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import spectral_norm as old_spectral_norm

import netdial as nd
from netdial import compression
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.family import Family
from netdial.models.family import load_family, save_family
from netdial.nets.foreign import (
    check_initialised,
    check_plain_weights,
    copy_network,
    with_plain_weights,
)


def plain(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def pruned() -> nn.Module:
    net = plain()
    prune.l1_unstructured(net[0], "weight", amount=0.5)
    return net


def weight_norm() -> nn.Module:
    net = plain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.weight_norm(net[0])
    return net


def spectral_norm() -> nn.Module:
    net = plain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old_spectral_norm(net[0])
    for _ in range(20):  # in training, until the norm is found
        net(torch.zeros(1, 4))
    return net


def parametrized() -> nn.Module:
    net = plain()
    parametrizations.weight_norm(net[0])
    return net


class Remembers(nn.Module):
    """Keeps its activations in attributes, a list and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.layer(x)
        self.seen.append(self.last)
        self.by_name = {"out": (self.last, 1)}
        return self.last


COMPUTED = [pruned, weight_norm, spectral_norm, Remembers]


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(64, 4)
    return x, (x[:, 0] > 0).long()


@pytest.mark.parametrize("make", COMPUTED)
def test_networks_that_hold_computed_tensors_are_copied(
    make: Callable[[], nn.Module], data: tuple[Tensor, Tensor]
) -> None:
    net = make()
    net(data[0]).sum().backward()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(net)
    made = copy_network(net)
    net.eval(), made.eval()
    assert torch.equal(made(data[0]), net(data[0]))
    first = next(made.parameters())
    with torch.no_grad():
        first.add_(1)
    assert not torch.equal(made(data[0]), net(data[0]))


@pytest.mark.parametrize("make", [*COMPUTED, parametrized])
def test_families_of_computed_weights_move_and_export_what_they_predict(
    make: Callable[[], nn.Module], data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    net = make()
    net(data[0])
    family = nd.fit(net, data, epochs=2, batch_size=16, groups=4)
    member = family.export(0.01)
    before = dict(net.named_parameters())
    assert not any(torch.equal(p, before[name]) for name, p in member.named_parameters())
    x = data[0]
    assert torch.allclose(family.outputs(family.at(0.01), x, 0.01), member(x), atol=1e-5)
    save_family(family, tmp_path / "f")
    assert torch.allclose(load_family(tmp_path / "f", make()).export(0.01)(x), member(x), atol=1e-6)
    if make is not Remembers:
        assert copy.deepcopy(family.export(0.01))(x).shape == (64, 2)


def test_a_mask_of_torch_prune_survives_and_can_be_read_before_the_first_run(
    data: tuple[Tensor, Tensor],
) -> None:
    net = pruned()
    mask = net.get_buffer("0.weight_mask").bool()
    member = nd.fit(net, data, epochs=2, batch_size=16, groups=4).export(0.1)
    weight = member.get_submodule("0").weight
    assert isinstance(weight, Tensor)
    assert torch.equal(weight == 0, ~mask)
    assert torch.equal(weight, member.get_parameter("0.weight_orig") * mask)


class Masked(nn.Module):
    """What torch.nn.utils.prune makes of a linear layer, written out."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.bias = nn.Parameter(layer.get_parameter("bias").detach().clone())
        self.weight_orig = nn.Parameter(layer.get_parameter("weight_orig").detach().clone())
        self.register_buffer("weight_mask", layer.get_buffer("weight_mask").clone())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight_orig * self.weight_mask, self.bias)


def test_a_hook_that_computes_a_weight_trains_like_the_same_written_out(
    data: tuple[Tensor, Tensor],
) -> None:
    hooked = pruned()
    written = plain()
    written[0] = Masked(hooked.get_submodule("0"))
    one, two = (nd.fit(net, data, epochs=2, batch_size=16, groups=4) for net in (hooked, written))
    for name, leaf in one.at(0.1).items():
        assert torch.equal(leaf, two.at(0.1)[name])


@pytest.mark.parametrize(
    "make",
    [weight_norm, spectral_norm, parametrized],
)
def test_channels_of_computed_weights_are_cut_once_they_are_plain(
    make: Callable[[], nn.Module], data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="are plain"):
        nd.shrink(make(), data, epochs=1, lam=0.01)
    with pytest.warns(UserWarning, match="are plain"):
        small = nd.slim(make(), share=0.5, example=data[0])
    assert small.widths == {"0": 4}
    nd.save(small, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", make())
    torch.testing.assert_close(again(data[0]), small.net(data[0]))


def test_channels_behind_masks_are_not_cut(data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match=r"'0'.*weight.*prune.remove"):
        nd.shrink(pruned(), data, epochs=1, lam=0.01)
    with pytest.raises(ConfigError, match=r"'0'.*weight.*prune.remove"):
        nd.slim(pruned(), share=0.5, example=data[0])
    check_plain_weights(plain())


def test_lazy_layers_are_refused_until_they_have_met_an_input(data: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2))
    for call in (
        lambda: nd.fit(net, data, epochs=1),
        lambda: nd.shrink(net, data, epochs=1, lam=0.1),
        lambda: nd.slim(net, share=0.5, example=data[0]),
    ):
        with pytest.raises(ConfigError, match=r"LazyLinear '0'.*net\(x\[:2\]\)"):
            call()
    net(data[0][:2])
    check_initialised(net)
    nd.fit(net, data, epochs=1, batch_size=16, groups=4)


@pytest.mark.parametrize(
    ("wrap", "cure"),
    [
        (nn.DataParallel, r"net\.module"),
        pytest.param(
            lambda net: torch.compile(net, backend="eager"), "_orig_mod", marks=pytest.mark.slow
        ),
        (lambda net: torch.jit.trace(net, torch.zeros(2, 4)), "before torch.jit"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_wrapped_networks_are_refused_with_the_way_to_the_network_inside(
    wrap: Callable[[nn.Module], nn.Module], cure: str
) -> None:
    with pytest.raises(ConfigError, match=cure):
        Family(wrap(plain()))


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_network_is_refused_in_words_by_fit() -> None:
    scripted = torch.jit.script(nn.Linear(4, 3))
    with pytest.raises(ConfigError, match=r"before torch\.jit"):
        nd.fit(scripted, (torch.randn(6, 4), torch.arange(6) % 3), epochs=1)


def test_what_cannot_be_copied_is_said() -> None:
    net = plain()
    net.held = iter([1])  # type: ignore[assignment]
    net.file = open(__file__)  # type: ignore[assignment]  # noqa: SIM115
    try:
        with pytest.raises(ConfigError, match="Sequential: cannot be copied"):
            Family(net)
    finally:
        net.file.close()  # type: ignore[operator]


class Words(nn.Module):
    """Looks up rows with sparse gradients, by a layer or by the function."""

    def __init__(self, *, function: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rows = nn.Embedding(11, 6, sparse=True)
        self.bag = nn.EmbeddingBag(11, 6, sparse=True)
        self.out = nn.Linear(6, 2)
        self.function = function

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.rows(tokens)
        if self.function:
            found = nn.functional.embedding(tokens, self.rows.weight, sparse=True)
        return self.out(found.mean(1) + self.bag(tokens))  # type: ignore[no-any-return]


@pytest.mark.parametrize("function", [False, True])
@pytest.mark.parametrize("settings", [{}, {"objective": "l2"}, {"shared": ("rows", "bag")}])
def test_sparse_embeddings_train_as_dense_ones(function: bool, settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 11, (64, 5))
    data = tokens, (tokens[:, 0] > 5).long()
    sparse, dense = Words(function=function), Words(function=False)
    dense.rows.sparse = dense.bag.sparse = False
    first, second = (
        nd.fit(net, data, epochs=2, batch_size=16, groups=4, **settings) for net in (sparse, dense)
    )
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert first.export(1.0).rows.sparse  # type: ignore[union-attr]


def test_curvature_and_pruning_take_sparse_embeddings() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 11, (32, 5))
    data = Dataset(tokens, (tokens[:, 0] > 5).long())
    family = nd.fit(Words(function=False), (data.x, data.y), epochs=1, batch_size=16, groups=4)
    pruned = nd.prune(family, 1.0, 0.5, criterion="taylor", data=data)
    assert int((pruned.at(1.0)["rows.weight"] == 0).sum()) > 0


@pytest.mark.parametrize("make", [weight_norm, spectral_norm, parametrized])
def test_computed_weights_become_plain_ones_of_the_same_outputs(
    make: Callable[[], nn.Module],
) -> None:
    net = make().eval()
    x = torch.randn(5, net[0].in_features)  # type: ignore[index]
    wanted = net(x)
    with pytest.warns(UserWarning, match=r"0\.weight.* are plain"):
        plain = with_plain_weights(net)
    torch.testing.assert_close(plain(x), wanted)
    assert isinstance(plain[0].weight, nn.Parameter)  # type: ignore[index]
    check_plain_weights(plain)


def test_a_spectral_norm_that_met_no_batch_becomes_plain_by_the_norm_that_it_finds() -> None:
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old_spectral_norm(net[0])
        plain = with_plain_weights(net.eval())
    net(torch.zeros(1, 24))
    assert torch.linalg.matrix_norm(net[0].weight, 2) > 4
    assert torch.linalg.matrix_norm(plain[0].weight, 2) < 1.2  # type: ignore[index]


@pytest.mark.parametrize("make", [weight_norm, spectral_norm, parametrized])
def test_networks_of_plain_weights_take_their_own_state(make: Callable[[], nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = with_plain_weights(make())
    plain.load_state_dict(plain.state_dict())
    copied = copy.deepcopy(plain)
    copied.load_state_dict(plain.state_dict())


def orthogonal(by: str = "matrix_exp") -> nn.Module:
    net = plain()
    parametrizations.orthogonal(net[0], orthogonal_map=by)
    return net


@pytest.mark.parametrize("objective", ["ard", "l2"])
def test_an_orthogonal_weight_stays_orthogonal_in_families(
    objective: str, data: tuple[Tensor, Tensor]
) -> None:
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 16, "objective": objective}
    leaf = "0.parametrizations.weight.original"
    with pytest.raises(ConfigError, match=r"layer '0'.*signs.*'matrix_exp'.*shared"):
        nd.fit(orthogonal("householder"), data, **settings)
    shared = nd.fit(orthogonal("householder"), data, shared=[leaf], **settings)
    for family in (shared, nd.fit(orthogonal(), data, **settings)):
        weight = family.export(1.0).get_submodule("0").weight
        assert isinstance(weight, Tensor)
        torch.testing.assert_close(weight.T @ weight, torch.eye(4))


@pytest.mark.parametrize("make", [weight_norm, spectral_norm, parametrized, orthogonal])
def test_numbers_that_a_weight_is_computed_from_are_not_pruned(
    make: Callable[[], nn.Module], data: tuple[Tensor, Tensor]
) -> None:
    family = nd.fit(make(), data, epochs=1, batch_size=16, groups=4)
    for call in (
        lambda: nd.prune(family, 0.1, 0.5),
        lambda: nd.surface(family, data, lams=[0.1], shares=[0.0, 0.5]),
        lambda: nd.choose(family, data, shares=[0.0, 0.5]),
        lambda: nd.retrain(family, 0.1, data, share=0.5),
        lambda: nd.compress(family, data, data, max_bytes=1000, epochs=1),
    ):
        with pytest.raises(ConfigError, match=r"layer '0': its weight is computed .*remove_"):
            call()
    assert torch.equal(nd.prune(family, 0.1, 0.0).export(0.1)(data[0]), family.export(0.1)(data[0]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")
@pytest.mark.parametrize(
    "make",
    [
        weight_norm,
        *(
            pytest.param(m, marks=pytest.mark.slow)
            for m in (spectral_norm, parametrized, orthogonal)
        ),
    ],
)
@pytest.mark.parametrize("lam", [None, pytest.param(0.1, marks=pytest.mark.slow)])
def test_weights_of_compressed_networks_are_plain_ones(
    make: Callable[[], nn.Module], lam: float | None, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    net = make() if lam is None else nd.fit(make(), data, epochs=9, batch_size=16, lr=0.05)
    with pytest.warns(UserWarning, match=r"0\.weight.* are plain"):
        found = nd.compress(net, data, data, lam=lam, max_bytes=220, epochs=20, lr=0.01)
    kept = found.net.get_parameter("0.weight")
    assert len(kept.unique()) < kept.numel() / 2
    compression.write(tmp_path / "c.ndz", found.chosen.tensors, recipe=found.recipe)
    fresh = make()
    again = nd.load_model(tmp_path / "c.ndz", fresh)
    torch.testing.assert_close(again(data[0]), found.net(data[0]))
    assert fresh.state_dict().keys() == make().state_dict().keys()


def test_buffers_that_are_views_of_fewer_numbers_are_exported_and_loaded(tmp_path: Path) -> None:
    """``expand`` gives several places one number in memory, which cannot be written to."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 3)
            self.scale: Tensor
            self.register_buffer("scale", torch.ones(3).expand(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(x) * self.scale[0]
            return found

    net, x = Scaled(), torch.randn(12, 4)
    family = nd.fit(net, (x, torch.arange(12) % 3), epochs=1)
    due = family.export(1.0)(x)
    assert net.scale.stride() == (0, 1)  # the user's own stays as it is
    nd.save(family, tmp_path / "family.safetensors", lam=1.0)
    torch.testing.assert_close(nd.load_model(tmp_path / "family.safetensors", Scaled())(x), due)
