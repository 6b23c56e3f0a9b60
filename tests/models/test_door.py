"""The door for models: everything that is saved opens again, changes are noticed, other files are told for what they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import netdial as nd
from netdial import compression
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.inputs import taken_in
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.storage.boundary import UncheckedFile
from netdial.core.storage.container import load_tree, save_tree
from netdial.models.member import load_member
from netdial.pruning.channels import prune_family

from ..marks import may_be_useless

NET = {"spec": "mlp:6", "input_shape": [3], "n_outputs": 2}
KINDS = ("family", "member", "weights", "pruned", "shrunken")


def mlp(seed: int = 0) -> nn.Module:
    return nd.build("mlp:6", input_shape=(3,), n_outputs=2, seed=seed)


def data() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=source)
    return x, (x[:, 0] > 0).long()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of every kind."""
    folder = tmp_path_factory.mktemp("saved")
    family = nd.Family(mlp())
    about = {"net": NET, "note": "λ"}
    nd.save(family, folder / "family", about=about)
    nd.save(family, folder / "member", lam=1.0, about=about)
    nd.save(family, folder / "weights.safetensors", lam=1.0, about=about)
    pruned = nd.slim(mlp(), share=0.5, example=torch.randn(2, 3))
    nd.save(pruned, folder / "pruned", about=about)
    shrunk = nd.shrink(mlp(), data(), epochs=1, batch_size=20, lam=0.1)
    nd.save(shrunk, folder / "shrunken", about=about)
    return folder


def path_of(folder: Path, kind: str) -> Path:
    return folder / ("weights.safetensors" if kind == "weights" else kind)


@pytest.mark.parametrize("kind", ["family", "pruned"])
def test_another_model_is_saved_over_a_member(tmp_path: Path, kind: str) -> None:
    """The description of the member stayed beside it, so what was written was taken for a damaged member."""
    path, family = tmp_path / "model.safetensors", nd.Family(mlp())
    nd.save(family, path, lam=1.0)
    pruned = nd.slim(mlp(), share=0.5, example=torch.randn(2, 3))
    assert nd.save(family if kind == "family" else pruned, path).path == path
    assert not path.with_suffix(".json").exists()
    assert nd.load_model(path, mlp())
    path.with_suffix(".json").write_text('{"mine": 1}')
    nd.save(family, path)
    assert path.with_suffix(".json").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_opens_by_itself(saved: Path, kind: str) -> None:
    path = path_of(saved, kind)
    found = nd.inspect(path)
    model = nd.load_model(path)
    assert found.digests and found.about["note"] == "λ"
    assert str(path) in str(found) and "nd.load_model(" in str(found)
    assert not model.training
    assert isinstance(model, nd.Family if kind == "family" else nn.Module)
    if kind != "family":
        assert model(torch.randn(5, 3)).shape == (5, 2)
        assert type(model).__name__ in ("Sequential", "GraphModule")


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_ones_own_is_given(saved: Path, kind: str) -> None:
    path = path_of(saved, kind)
    net = mlp(seed=3)
    x = torch.randn(5, 3)
    own, other = nd.load_model(path, net), nd.load_model(path)
    lam = 1.0
    if kind == "family":
        own, other = own.export(lam), other.export(lam)
    torch.testing.assert_close(own(x), other(x))


@pytest.mark.parametrize("kind", [*KINDS, "compressed"])
def test_the_network_given_stays_as_it_is(saved: Path, kind: str, tmp_path: Path) -> None:
    path = path_of(saved, kind)
    if kind == "compressed":
        path = tmp_path / "a.ndz"
        values = {n: p.detach().numpy() for n, p in mlp(seed=5).named_parameters()}
        compression.write(path, values)
    net, x = mlp(seed=3).train(), torch.randn(5, 3)
    held = {name: leaf.detach().clone() for name, leaf in net.named_parameters()}
    first, second = nd.load_model(path, net), nd.load_model(path, net)
    assert net.training and first is not second
    for name, leaf in net.named_parameters():
        assert torch.equal(leaf, held[name])
    if kind != "family":
        assert torch.equal(first(x), second(x)) and not torch.equal(first(x), net(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_values_is_told(saved: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=r"weight has no values \(device meta\)"):
        nd.load_model(path_of(saved, kind), mlp().to("meta"))


def test_a_pruned_network_computes_what_it_did(tmp_path: Path) -> None:
    pruned = nd.slim(mlp(), share=0.5, example=torch.randn(2, 3))
    told = nd.save(pruned, tmp_path / "small.safetensors", about={"net": NET})
    assert told.kind == "pruned network" and told.facts["widths"] == {"fc1": 3}
    x = torch.randn(7, 3)
    torch.testing.assert_close(nd.load_model(tmp_path / "small.safetensors")(x), pruned.net(x))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_noticed(saved: Path, kind: str, tmp_path: Path) -> None:
    source = path_of(saved, kind)
    for original in sorted(saved.rglob("*")) if source.is_dir() else [source]:
        if original.is_dir() or source not in (original, original.parent):
            continue
        whole = original.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 40)):
            copy = tmp_path / "copy" / source.name
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            shutil.copytree(saved, tmp_path / "copy")
            changed = bytearray(whole)
            changed[place] ^= 1 << place % 7
            (tmp_path / "copy" / original.relative_to(saved)).write_bytes(changed)
            if json_alike(whole, bytes(changed)):
                continue
            with pytest.raises(CheckpointError):
                nd.load_model(copy)
            with pytest.raises(CheckpointError):
                nd.inspect(copy)


def json_alike(one: bytes, other: bytes) -> bool:
    """Returns whether two files are JSON that says the same: a flipped space may."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


@pytest.mark.parametrize("key", ["lam", "n_params", "size_bytes", "meta", "weights", "format"])
def test_an_edited_description_of_a_member_is_noticed(
    saved: Path, tmp_path: Path, key: str
) -> None:
    shutil.copytree(saved / "member", tmp_path / "m")
    path = tmp_path / "m/config.json"
    config = json.loads(path.read_text())
    changed: dict[str, Any] = {"meta": {"net": NET}, "weights": "0" * 64, "format": 1}
    path.write_text(json.dumps({**config, key: changed.get(key, 7)}))
    with pytest.raises(CheckpointError):
        nd.load_model(tmp_path / "m")


def test_a_member_of_before_is_read_and_that_is_said(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "member", tmp_path / "m")
    path = tmp_path / "m/config.json"
    config = json.loads(path.read_text())
    del config["sha256"], config["weights"]
    path.write_text(json.dumps({**config, "format": 1}))
    with pytest.warns(UncheckedFile, match="carries no digests"):
        old = nd.load_model(tmp_path / "m")
    now = nd.load_model(saved / "member")
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), now.parameters(), strict=True))
    path.write_text(json.dumps({**config, "format": 1, "size_bytes": 3}))
    with pytest.warns(UncheckedFile), pytest.raises(CheckpointError, match="says 3"):
        nd.load_model(tmp_path / "m")


def test_weights_that_are_nan_are_refused_with_and_without_digests(
    saved: Path, tmp_path: Path
) -> None:
    family = nd.Family(mlp())
    with torch.no_grad():
        next(family.mean.parameters())[0, 0] = float("nan")
    for lam in (None, 1e-3):
        with pytest.raises(CheckpointError, match=r"1 of \d+ numbers that are NaN"):
            nd.save(family, tmp_path / "f", lam=lam)
    assert not (tmp_path / "f").exists()
    shutil.copytree(saved / "member", tmp_path / "m")
    path = tmp_path / "m/config.json"
    config = json.loads(path.read_text())
    del config["sha256"], config["weights"]
    path.write_text(json.dumps({**config, "format": 1}))
    with safe_open(tmp_path / "m/model.safetensors", framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state["fc1.weight"][0, 0] = float("nan")
    save_file(state, tmp_path / "m/model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UncheckedFile), pytest.raises(CheckpointError, match=r"fc1\.weight.*NaN"):
        load_member(tmp_path / "m")


@pytest.mark.parametrize(
    "spec", ["mlp:1000000000", "mlp:50000-50000-50000", "mlp:" + "9" * 300, "mlp:6-6", "cnn"]
)
@pytest.mark.parametrize("lam", [None, 1.0])
def test_a_described_network_that_is_not_in_the_file_is_not_built(
    tmp_path: Path, spec: str, lam: float | None
) -> None:
    nd.save(nd.Family(mlp()), tmp_path / "m", about={"net": {**NET, "spec": spec}}, lam=lam)
    with pytest.raises(CheckpointError):
        nd.load_model(tmp_path / "m")


@pytest.mark.parametrize("spec", ["mlp:1000000000", "mlp:50000"])
def test_of_a_network_that_was_cut_no_more_is_built_than_is_left(tmp_path: Path, spec: str) -> None:
    pruned = nd.slim(mlp(), share=0.5, example=torch.randn(2, 3))
    nd.save(pruned, tmp_path / "m", about={"net": {**NET, "spec": spec}})
    x = torch.randn(4, 3)
    torch.testing.assert_close(nd.load_model(tmp_path / "m")(x), pruned.net(x))


@pytest.mark.parametrize(
    "settings",
    [{"map": "piecewise", "regions": 10**9}, {"map": "lowrank", "hidden": 10**9}, {"lo": 10**400}],
)
def test_settings_that_ask_for_more_than_the_file_holds_are_refused(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    family = nd.Family(mlp(), nd.FamilyConfig(map=settings.get("map", "linear")))
    nd.save(family, tmp_path / "f", about={"net": NET})
    tree = load_tree(tmp_path / "f", "family")
    save_tree(tmp_path / "f", {**tree, "config": {**tree["config"], **settings}}, "family")
    with pytest.raises(CheckpointError, match=r"numbers and holds|lo is wrong"):
        nd.load_model(tmp_path / "f")


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "checkpoint": (lambda p: save_tree(p, {"state": {}}, "checkpoint"), "state of a run.*resume"),
    "tensors": (lambda p: save_file({"x": torch.zeros(2)}, p), "tensors without a description"),
    "torch.save": (lambda p: torch.save({"x": torch.zeros(2)}, p), "torch.save"),
    "pickle": (lambda p: p.write_bytes(b"\x80\x04N."), "a pickle"),
    "text": (lambda p: p.write_text("hello"), "not a netdial file"),
    "empty": (lambda p: p.touch(), "the file is empty"),
    "folder": (lambda p: p.mkdir(), "a folder without a model"),
    "nothing": (lambda p: None, "no such file"),
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_other_files_are_told_for_what_they_are(tmp_path: Path, name: str) -> None:
    make, message = FOREIGN[name]
    make(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=message):
        nd.load_model(tmp_path / "x.safetensors")


def test_a_member_is_found_by_any_of_its_files(saved: Path) -> None:
    for path in ("member", "member/config.json", "member/model.safetensors", "weights.json"):
        assert nd.inspect(saved / path).kind == "netdial-member"
        assert isinstance(nd.load_model(saved / path), nn.Sequential)


def test_a_damaged_description_says_so(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "member", tmp_path / "m")
    (tmp_path / "m/config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json.*not JSON"):
        nd.load_model(tmp_path / "m")


def test_programs_are_told_and_opened_elsewhere(tmp_path: Path) -> None:
    family = nd.Family(mlp())
    told = nd.save(family, tmp_path / "m.pt2", lam=1.0, example=torch.randn(2, 3))
    assert "torch.export.load" in str(told)
    assert torch.export.load(tmp_path / "m.pt2").module()(torch.randn(4, 3)).shape == (4, 2)
    with pytest.raises(CheckpointError, match=r"torch\.export\.load"):
        nd.load_model(tmp_path / "m.pt2")


@pytest.mark.slow
@may_be_useless
def test_other_things_that_netdial_makes_are_refused_with_what_to_do(tmp_path: Path) -> None:
    family = nd.fit(mlp(), data(), epochs=40, batch_size=8)
    splits = nd.load_data("wine")
    held = nd.cross_validate(mlp(), data(), folds=2, epochs=1)
    small = nd.compress(mlp(), data(), data(), max_bytes=4000, epochs=1, tuning=0)
    for thing, words in (
        (held, r"nd.save\(held.family, path, lam=held.lam\)"),
        (nd.choose(family, data(), lams=2, shares=(0.0,)), "a Choice is not saved.*choice.export"),
        (small, "compression.write"),
        (nd.average(family, data(), lams=2), "an Average is not saved"),
        (mlp(), "save_model"),
    ):
        for more in ({}, {"data": splits}):
            with pytest.raises(ConfigError, match=words):
                nd.save(thing, tmp_path / "out", **more)  # type: ignore[arg-type]
    nd.save(held.family, tmp_path / "out", lam=held.lam)
    compression.write(tmp_path / "c.ndz", small.chosen.tensors, recipe=small.recipe)
    x = torch.randn(3, 3)
    torch.testing.assert_close(nd.load_model(tmp_path / "c.ndz", mlp(4))(x), small.net(x))


@pytest.mark.slow
def test_any_network_is_saved_as_a_program(tmp_path: Path) -> None:
    family = nd.fit(mlp(), data(), epochs=4, batch_size=8)
    mean, x = nd.average(family, data(), lams=2), torch.randn(5, 3)
    for net in (mean, mlp()):
        told = nd.save(net, tmp_path / "m.pt2", example=x[:2])
        assert told.opens == "open a program with torch.export.load"
        found = torch.export.load(tmp_path / "m.pt2").module()(x)
        torch.testing.assert_close(found, net.eval()(x))


class Dropped(nn.Module):
    """Leaves examples out of a branch in training, by numbers that are drawn in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        if self.training:
            h = h * (torch.zeros(len(x), 1).uniform_(0, 1) < 0.8)
        return self.b(h)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.pt2", "m.onnx"])
def test_programs_leave_out_what_only_training_computes(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    small = nd.slim(Dropped(), share=0.5, example=torch.randn(2, 3))
    code = small.net.code
    nd.save(small, tmp_path / name)  # compared with the network
    assert "uniform" in code
    assert small.net.code == code
    if name == "m.pt2":
        program = torch.export.load(tmp_path / name)
        assert not [node for node in program.graph.nodes if "uniform" in str(node.target)]


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    pruned = nd.slim(mlp(), share=0.5, example=torch.randn(2, 3))
    with pytest.raises(ConfigError, match="Sequential is not saved"):
        nd.save(mlp(), tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lam=1: a Pruned is one network"):
        nd.save(pruned, tmp_path / "x", lam=1.0)
    with pytest.raises(ConfigError, match="give a family with lam="):
        nd.save(nd.Family(mlp()), tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="give example="):
        nd.save(mlp(), tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ('{"way": "shrink"}', "netdial shrink … --resume"),
        ('{"way": "search"}', "netdial search … --resume"),
        ("{}", "netdial fit … --resume"),
        ('{"way": "x; rm"}', "netdial fit … --resume"),
        ("no JSON", "netdial fit … --resume"),
    ],
)
def test_an_unfinished_run_names_the_command_that_finishes_it(
    tmp_path: Path, config: str, command: str
) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "records.jsonl").write_text("")
    with pytest.raises(CheckpointError, match=command):
        nd.load_model(tmp_path)


def test_families_of_networks_that_were_built_by_name_open_alone(tmp_path: Path) -> None:
    x = torch.randn(5, 3)
    family = nd.Family(mlp())
    nd.save(family, tmp_path / "whole")
    nd.save(family, tmp_path / "one", lam=2.0)
    torch.testing.assert_close(
        nd.load_model(tmp_path / "whole").export(2.0)(x), family.export(2.0)(x)
    )
    torch.testing.assert_close(nd.load_model(tmp_path / "one")(x), family.export(2.0)(x))
    cut, found = prune_family(family, 1.0, share=0.5, example=x)
    nd.save(cut, tmp_path / "cut")
    torch.testing.assert_close(nd.load_model(tmp_path / "cut").export(1.0)(x), cut.export(1.0)(x))
    assert next(found.net.parameters()).shape == (3, 3)


def test_a_network_that_was_changed_since_it_was_built_is_not_taken_for_that(
    tmp_path: Path,
) -> None:
    for number, (name, layer) in enumerate(
        {"fc1": nn.Linear(3, 6, bias=False), "fc2": nn.LazyLinear(2)}.items()
    ):
        net = mlp()
        setattr(net, name, layer)
        net(torch.randn(2, 3))
        wide = isinstance(layer, nn.Linear) and layer.bias is None
        nd.save(nd.Family(net), tmp_path / str(number))
        assert ("net" in nd.inspect(tmp_path / str(number)).about) is not wide
    net = mlp()
    net.add_module("more", nn.Linear(2, 2))
    nd.save(nd.Family(nn.Sequential(net)), tmp_path / "around")
    assert "net" not in nd.inspect(tmp_path / "around").about


class Bought(nn.Module):
    """Users and items, smoothed over a sparse matrix of what was bought."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(4, 6), nn.Embedding(5, 6)
        self.mid, self.out = nn.Linear(6, 8), nn.Linear(8, 1)
        bought = torch.rand(9, 9, generator=torch.Generator().manual_seed(0)) > 0.5
        self.register_buffer("bought", bought.float().to_sparse())

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        all_of_them = torch.cat([self.users.weight, self.items.weight])
        users, items = torch.sparse.mm(self.bought, all_of_them).split([4, 5])
        return self.out(torch.relu(self.mid(users[user] * items[item])))


@pytest.mark.slow
def test_networks_with_sparse_matrices_are_cut_shrunk_and_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows = {"user": torch.randint(0, 4, (16,)), "item": torch.randint(0, 5, (16,))}
    y, path = torch.randn(16, 1), tmp_path / "net.safetensors"
    kept = nd.slim(Bought(), share=0.5, example=rows)
    small = nd.shrink(Bought(), (rows, y), loss=F.mse_loss, size="90 params", epochs=4)
    for cut in (kept, small):
        assert cut.graph.widths["mid"] < 8
        nd.save(cut, path)
        again = nd.load_model(path, Bought())
        assert again.bought.is_sparse
        x = cut.graph.example
        assert same_outputs(evaluated(cut.graph.traced, x), evaluated(taken_in(again), x))
    family = nd.fit(Bought(), (rows, y), loss=F.mse_loss, lam=(0.01, 1), epochs=2)
    nd.save(family, path)
    again, member = nd.load_model(path, Bought()).export(0.1), family.export(0.1)
    assert torch.equal(again(**rows), member(**rows))


def test_a_folder_of_a_member_is_not_named_as_a_file(tmp_path: Path) -> None:
    family = nd.fit(mlp(), data(), epochs=1)
    with pytest.raises(ConfigError, match=r"'.pth'.*none \(a folder\)"):
        nd.save(family, tmp_path / "net.pth", lam=1.0)
    nd.save(family, tmp_path / "net-v1.2", lam=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["net-v1.2"]


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt"])
def test_no_file_is_named_as_one_of_torch_save(tmp_path: Path, ending: str) -> None:
    pruned = nd.slim(mlp(), share=0.5, example=data()[0][:4])
    family = nd.fit(mlp(), data(), epochs=1)
    for thing in (pruned, family):
        with pytest.raises(ConfigError, match=rf"net{ending}: .*torch.load.*take net.safetensors"):
            nd.save(thing, tmp_path / f"net{ending}")
    assert not list(tmp_path.iterdir())
