"""Saving a family: what is read back is what was written, and what does not fit is refused with the reason."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

import netdial as nd
from netdial import compression
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.storage import container as checkpoint
from netdial.family import Family, FamilyConfig
from netdial.models.family import load_family, mismatch, read_family, save_family
from netdial.models.member import save_member
from netdial.nets import build
from netdial.task import Classification

DESCRIBED = {"net": {"spec": "mlp:4", "input_shape": [3], "n_outputs": 2}}


def mlp(seed: int = 0, width: int = 4) -> nn.Module:
    return build(f"mlp:{width}", input_shape=(3,), n_outputs=2, seed=seed)


def moved(family: Family, seed: int = 0) -> Family:
    """Moves every parameter and statistic away from its start, as training would."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*family.parameters(), *family.statistics.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=source, dtype=tensor.dtype))
    return family.eval()


def same_members(one: Family, other: Family) -> bool:
    lams = list(one.config.lams) or one.domain.grid(3)
    pairs = [(one.export(lam).state_dict(), other.export(lam).state_dict()) for lam in lams]
    return all(a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in pairs)


class Scaled(nn.Module):
    """A network with a constant buffer, tied weights, BatchNorm and a layer to leave out of the family."""

    def __init__(self) -> None:
        super().__init__()
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(3))
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.norm, self.last = nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.norm(self.two(self.one(x * self.scale))))
        return out


@settings(max_examples=15, deadline=None)
@given(
    options=st.sampled_from(
        [
            {"map": "linear"},
            {"map": "piecewise", "regions": 3},
            {"map": "lowrank", "hidden": 4, "seed": 3},
            {"map": "gated"},
            {"map": "table", "lams": (0.01, 1.0, 10.0)},
        ]
    ),
    posterior=st.sampled_from(["normal", "point"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 100),
)
def test_saving_and_loading_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory,
    options: dict[str, Any],
    posterior: Any,
    dtype: torch.dtype,
    seed: int,
) -> None:
    family = Family(
        mlp(), FamilyConfig(lo=0.01, hi=10.0, posterior=posterior, prior_var=2.0, **options)
    )
    family = moved(family.to(dtype) if dtype == torch.float64 else family, seed)
    path = tmp_path_factory.mktemp("saved") / "family.safetensors"
    save_family(family, path)
    loaded = load_family(path, mlp(seed=1))
    assert loaded.config == family.config
    assert loaded.dtype == dtype
    assert not loaded.training
    assert same_members(family, loaded)
    fields, again = family.fields_at([1.0]), loaded.fields_at([1.0])
    if fields.log_std is not None:
        assert again.log_std is not None and torch.equal(fields.log_std, again.log_std)


def test_buffers_shared_parameters_and_tied_weights_come_back(tmp_path: Path) -> None:
    family = moved(Family(Scaled(), FamilyConfig(shared=("last.*",))))
    family.net.get_buffer("scale").copy_(torch.tensor([1.0, 2.0, 3.0]))
    save_family(family, tmp_path / "f.safetensors")
    loaded = load_family(tmp_path / "f.safetensors", Scaled())
    assert same_members(family, loaded)
    member = loaded.export(1.0)
    assert member.get_buffer("scale").tolist() == [1, 2, 3]
    assert member.get_parameter("one.weight") is member.get_submodule("two").weight


def test_meta_comes_back_and_a_described_network_need_not_be_given(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "family.safetensors"
    family = moved(Family(mlp()))
    save_family(family, path, {**DESCRIBED, "classes": ("a", "b"), "mean": [0.5]})
    assert read_family(path)["meta"] == {**DESCRIBED, "classes": ["a", "b"], "mean": [0.5]}
    assert same_members(family, load_family(path))
    assert [p.name for p in path.parent.iterdir()] == ["family.safetensors"]


def test_loading_leaves_the_given_network_alone(tmp_path: Path) -> None:
    save_family(moved(Family(mlp())), tmp_path / "f")
    net = mlp(seed=5)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    load_family(tmp_path / "f", net)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    save_family(Family(mlp()), tmp_path / "f", DESCRIBED)
    with safe_open(tmp_path / "f", framework="pt") as file:
        assert "/state/mean.pivots" in file.keys()  # noqa: SIM118
        assert set(file.metadata()) == {"netdial"}


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (mlp(width=5), r"Sequential given \(fc1.weight is \[5, 3\], saved as \[4, 3\]"),
        (nn.Linear(3, 2), r"fc1.weight is missing; .* and 3 more\)"),
        (nn.Sequential(mlp()), r"0.fc1.weight is not in the file|fc1.weight is missing"),
    ],
)
def test_another_architecture_is_refused_by_name(
    tmp_path: Path, net: nn.Module, message: str
) -> None:
    save_family(Family(mlp()), tmp_path / "f")
    with pytest.raises(CheckpointError, match=message):
        load_family(tmp_path / "f", net)


def test_other_activations_of_equal_shapes_are_refused(tmp_path: Path) -> None:
    """Shapes and names say nothing of them; dropout and what does nothing may change."""

    def net(*layers: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), layers[0], nn.Linear(4, 2), layers[1])

    saved = net(nn.ReLU(), nn.Dropout(0.3))
    family = Family(saved)
    save_family(family, tmp_path / "f")
    save_member(family, 1.0, tmp_path / "m")
    for place in ("f", "m"):
        for wrong in (nn.Tanh(), nn.GELU()):
            with pytest.raises(CheckpointError, match=f"1 is {type(wrong).__name__}, .* ReLU"):
                nd.load_model(tmp_path / place, net(wrong, nn.Dropout(0.3)))
        nd.load_model(tmp_path / place, net(nn.ReLU(inplace=True), nn.Identity()))


def test_differences_are_told_in_words() -> None:
    assert mismatch({"a": [1]}, {"a": [1]}) == ""
    assert mismatch({"b": [1]}, {"a": [1]}) == "a is missing; b is not in the file"


def test_without_a_network_or_a_description_it_asks_for_one(tmp_path: Path) -> None:
    save_family(Family(mlp()), tmp_path / "f")
    with pytest.raises(
        CheckpointError, match=r"does not say which network .* give the network \(net=\)"
    ):
        load_family(tmp_path / "f")


@pytest.mark.parametrize(
    "described",
    [
        {"spec": "os.system:ls", "input_shape": [3], "n_outputs": 2},
        {"spec": ["mlp"], "input_shape": [3], "n_outputs": 2},
        {"spec": "mlp:4"},
        {"spec": "mlp:4", "input_shape": "x", "n_outputs": 2},
    ],
)
def test_a_bad_description_is_refused(tmp_path: Path, described: dict[str, Any]) -> None:
    save_family(Family(mlp()), tmp_path / "f", {"net": described})
    with pytest.raises(CheckpointError, match="describes a network that netdial cannot build"):
        load_family(tmp_path / "f")


def test_damaged_missing_foreign_and_newer_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    with pytest.raises(CheckpointError, match="no such file"):
        load_family(path, mlp())
    save_family(Family(mlp()), path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[:-10], b"x" * 200):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a netdial file, or damaged"):
            load_family(path, mlp())
    checkpoint.save_tree(path, {"state": {}}, "checkpoint")
    with pytest.raises(CheckpointError, match=r"holds 'checkpoint'.* expected 'family'"):
        load_family(path, mlp())
    checkpoint.save_tree(path, {"state": {}}, "family")
    with pytest.raises(CheckpointError, match="a part of the family is missing"):
        read_family(path)
    monkeypatch.setattr(checkpoint, "FORMAT", 7)
    save_family(Family(mlp()), path)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"format 7"):
        load_family(path, mlp())


def test_an_unknown_setting_or_lost_tensor_is_refused(tmp_path: Path) -> None:
    save_family(Family(mlp()), tmp_path / "f")
    tree = checkpoint.load_tree(tmp_path / "f", "family")
    for key, change in (("config", {"wings": 2}), ("state", {"mean.extra": torch.zeros(1)})):
        checkpoint.save_tree(tmp_path / "g", {**tree, key: {**tree[key], **change}}, "family")
        with pytest.raises(
            CheckpointError, match=r"cannot be turned into a family .*(wings|mean.extra)"
        ):
            load_family(tmp_path / "g", mlp())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    save_family(Family(mlp()), path)
    old = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match=r"No space left.*before is intact"):
        save_family(moved(Family(mlp())), path)
    assert path.read_bytes() == old


@pytest.mark.parametrize("meta", [{"a": torch.zeros(1)}, {"a": float("nan")}, {"a": object()}])
def test_meta_that_json_cannot_hold_is_refused(tmp_path: Path, meta: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"meta: .*use finite numbers"):
        save_family(Family(mlp()), tmp_path / "f", meta)
    assert not (tmp_path / "f").exists()


def test_a_task_that_no_file_can_hold_is_refused_before_one_is_written(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Tempered(Classification):
        temperature: Any = None

    family = Family(nn.Linear(3, 2), FamilyConfig(task=Tempered(torch.tensor(2.0))))
    with pytest.raises(ConfigError, match=r"settings: .*Tensor"):
        save_family(family, tmp_path / "f.safetensors")
    assert not (tmp_path / "f.safetensors").exists()


class Distances(nn.Module):
    """Makes its table in the first call, for as many places as come."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.register_buffer("table", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        if self.table is None:
            self.register_buffer("table", torch.arange(h.shape[-1]) / 8, persistent=False)
        return self.b(h + self.table)


def test_buffers_that_the_first_call_makes_are_no_other_network(tmp_path: Path) -> None:
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    family = nd.fit(Distances(), (x, y), epochs=1)
    nd.save(family, tmp_path / "family")
    net = Distances()
    again = nd.load_model(tmp_path / "family", net)
    torch.testing.assert_close(again.export(1.0)(x), family.export(1.0).eval()(x))
    assert net.table is None


class Undeclared(nn.Module):
    """Its first call registers a table under a name that was not there."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        if not hasattr(self, "table"):
            self.register_buffer("table", torch.arange(h.shape[-1]) / 8)
        return self.b(h + self.table)


class WithoutTable(nn.Module):
    """A later version of the class, whose code knows no table."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


def test_buffers_under_names_that_the_first_call_brings_are_taken_by_classes_that_do_so(
    tmp_path: Path,
) -> None:
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    family = nd.fit(Undeclared(), (x, y), epochs=1)
    member = family.export(1.0).eval()
    nd.save(family, tmp_path / "family")
    nd.save(family, tmp_path / "member.safetensors", lam=1.0)
    again = nd.load_model(tmp_path / "family", Undeclared())
    torch.testing.assert_close(again.export(1.0).eval()(x), member(x))
    alone = nd.load_model(tmp_path / "member.safetensors", Undeclared())
    torch.testing.assert_close(alone(x), member(x))
    with pytest.raises(CheckpointError, match="table"):
        nd.load_model(tmp_path / "family", WithoutTable())


class Remembers(nn.Module):
    """Keeps what it saw in training in buffers that begin empty, and reads their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.register_buffer("cache", torch.zeros(0, 8))
        self.register_buffer("centre", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.centre is None:
            self.centre = x.detach().mean(0)
        h = torch.relu(self.a(x - self.centre))
        if self.training:
            self.cache = torch.cat([self.cache, h.detach()[:1]])
        shift = self.cache.mean(0) if len(self.cache) else 0.0
        out: Tensor = self.b(h - shift)
        return out


@pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")
@pytest.mark.parametrize(
    "form", ["family.safetensors", "member", pytest.param("small.ndz", marks=pytest.mark.slow)]
)
def test_buffers_that_training_fills_come_back_from_files(form: str, tmp_path: Path) -> None:
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    family = nd.fit(Remembers(), (x, y), epochs=2)
    made = family.export(1.0).eval()
    if form == "small.ndz":
        found = nd.compress(family, (x, y), (x, y), lam=1.0, max_loss=10.0, epochs=1, steps=1)
        compression.write(tmp_path / form, found.chosen.tensors, recipe=found.recipe)
        made = found.net
    else:
        nd.save(family, tmp_path / form, lam=None if form.startswith("family") else 1.0)
    net = Remembers()
    again = nd.load_model(tmp_path / form, net)
    again = again.export(1.0) if isinstance(again, Family) else again
    assert len(made.cache) and torch.equal(again.cache, made.cache)
    torch.testing.assert_close(again(x), made(x))
    assert net.centre is None and not len(net.cache)
