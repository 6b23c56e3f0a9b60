"""Exporting a member: an ordinary network, the same outputs in every format, and nothing of netdial inside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import CheckpointError, ConfigError, MissingExtra, ShapeError, TraceError
from netdial.core.storage.boundary import seal
from netdial.family import Family, FamilyConfig
from netdial.measure.cost import size_bytes
from netdial.models.member import FORMATS, load_member, save_member
from netdial.models.programs import checking, writing
from netdial.models.programs.batch import ExampleBatch
from netdial.nets import build

META = {"net": {"spec": "mlp:4", "input_shape": [3], "n_outputs": 2}, "classes": ["a", "b"]}


def family_of(net: nn.Module, seed: int = 0, **options: Any) -> Family:
    family = Family(net, FamilyConfig(**options))
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*family.parameters(), *family.statistics.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=source) * 0.2 - 0.1)
    return family.eval()


@pytest.fixture
def family() -> Family:
    return family_of(build("mlp:4", input_shape=(3,), n_outputs=2))


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Reader(nn.Module):
    """Embedding, attention, LSTM, LayerNorm: [B, 6] tokens to [B, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.lstm = nn.LayerNorm(8), nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = self.norm(x + self.attend(x, x, x)[0])
        out: Tensor = self.head(self.lstm(x)[0][:, -1])
        return out


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.two(self.one(x))
        return out


class Moody(nn.Module):
    """Takes another way when its inputs are large: no single graph shows that."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x) if float(x.sum()) > 0 else -self.head(x)
        return out


def test_a_member_is_made_of_torch_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    member = family_of(net, shared=("3.bias",)).export(1.0)
    assert {type(part).__module__.partition(".")[0] for part in member.modules()} == {"torch"}
    assert list(member.state_dict()) == list(net.state_dict())
    assert not member.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in member.modules())


@pytest.mark.parametrize("place", ["member", "member.safetensors"])
def test_safetensors_and_back(family: Family, tmp_path: Path, place: str) -> None:
    done = save_member(family, 0.5, tmp_path / place, meta=META)
    member, again = family.export(0.5), load_member(tmp_path / place)
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in member.state_dict().items())
    assert not again.training
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert done.size_bytes == sum(path.stat().st_size for path in files)
    assert (done.format, done.max_difference) == ("safetensors", 0.0)
    (description,) = [path for path in files if path.suffix == ".json"]
    config = json.loads(description.read_text())
    assert (config["lam"], config["n_params"], config["meta"]) == (0.5, 26, META)


def pruned(net: nn.Module, share: float = 0.8, **options: Any) -> Family:
    """Returns a family most of whose numbers are pruned, at random."""
    family = family_of(net, **options)
    source = torch.Generator().manual_seed(1)
    family.restrict(torch.rand(family.layout.size, generator=source) >= share)
    return family


def stored(folder: Path) -> int:
    """Returns the bytes of the tensors in a folder's weights file, without the header."""
    content = (folder / "model.safetensors").read_bytes()
    return len(content) - 8 - int.from_bytes(content[:8], "little")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pruned_member_is_stored_as_values_and_bitmaps(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    net = nn.Sequential(nn.Conv2d(1, 30, 3), nn.BatchNorm2d(30), nn.Flatten(), nn.Linear(480, 10))
    family = pruned(net).to(dtype)
    save_member(family, 1.0, tmp_path / "m")
    member, again = family.export(1.0), load_member(tmp_path / "m", net.float())
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in member.state_dict().items())
    assert all(state[name].dtype == tensor.dtype for name, tensor in member.state_dict().items())
    assert stored(tmp_path / "m") == size_bytes(member.state_dict())
    assert stored(tmp_path / "m") < 0.4 * size_bytes(member.state_dict(), packed=False)
    config = json.loads((tmp_path / "m/config.json").read_text())
    assert config["format"] == 3 and {"0.weight", "3.weight"} <= set(config["packed"])


def test_an_example_in_single_precision_traces_a_network_in_double(tmp_path: Path) -> None:
    """As its training data may be, which ``precision="64-true"`` takes as they are."""
    net = nn.Linear(5, 2)
    family, x = Family(net).double(), torch.randn(3, 5)
    nd.save(family, tmp_path / "m.pt2", lam=1.0, example=x)
    program = torch.export.load(tmp_path / "m.pt2").module()
    torch.testing.assert_close(program(x.double()), family.export(1.0)(x.double()))


def test_a_member_that_is_not_pruned_is_stored_as_it_is(tmp_path: Path) -> None:
    net = nn.Linear(50, 50)
    with torch.no_grad():
        net.weight.zero_()
    save_member(Family(net), 1.0, tmp_path / "m")
    assert stored(tmp_path / "m") == size_bytes(net.state_dict(), packed=False)
    config = json.loads((tmp_path / "m/config.json").read_text())
    assert config["format"] == 3 and "packed" not in config


def test_a_damaged_bitmap_is_refused(tmp_path: Path) -> None:
    net = nn.Linear(50, 50)
    save_member(pruned(net), 1.0, tmp_path / "m")
    path = tmp_path / "m/config.json"
    config = json.loads(path.read_text())
    for shapes in ({"weight": [50, 60]}, {"weights": [50, 50]}, {"weight": "x"}, []):
        path.write_text(json.dumps({**config, "packed": shapes}))
        with pytest.raises(CheckpointError, match=r"config.json: was changed after it was written"):
            load_member(tmp_path / "m", net)
        plain = {key: value for key, value in config.items() if key != "sha256"}
        path.write_text(json.dumps(seal({**plain, "packed": shapes})))
        with pytest.raises(CheckpointError, match=r"is missing or damaged|packed.* is wrong"):
            load_member(tmp_path / "m", net)


def test_a_card_lies_beside_the_weights(family: Family, tmp_path: Path) -> None:
    done = save_member(family, 1.0, tmp_path / "m", meta=META, card="# A card: λ\n")
    assert (tmp_path / "m/README.md").read_text(encoding="utf-8") == "# A card: λ\n"
    assert {path.name for path in (tmp_path / "m").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    assert done.size_bytes == sum(path.stat().st_size for path in (tmp_path / "m").iterdir())
    for path, format in (("m.safetensors", "safetensors"), ("m.pt2", "torch-export")):
        with pytest.raises(ConfigError, match="a card lies in a folder beside the weights"):
            save_member(family, 1.0, tmp_path / path, format, inputs(1, 3), card="x")


def test_a_network_of_ones_own_is_given_to_the_loader(tmp_path: Path) -> None:
    family = family_of(Tied())
    member = family.export(1.0)
    save_member(family, 1.0, tmp_path / "tied")
    again = load_member(tmp_path / "tied", Tied())
    assert torch.equal(again(inputs(4, 3)), member(inputs(4, 3)))
    with pytest.raises(CheckpointError, match=r"does not say which network .* \(net=\)") as said:
        load_member(tmp_path / "tied")
    said.match(re.escape(f"nd.load_model({str(tmp_path / 'tied')!r}, net=net)"))
    assert torch.equal(
        nd.load_model(tmp_path / "tied", net=Tied())(inputs(4, 3)), member(inputs(4, 3))
    )


def test_buffers_that_no_file_holds_are_told_of_where_they_differ(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.register_buffer("scale", torch.full((3,), scale), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x * self.scale)
            return out

    family, x = family_of(Scaled(0.5)), inputs(4, 3)
    save_member(family, 1.0, tmp_path / "member")
    again = load_member(tmp_path / "member", Scaled(0.5))
    assert torch.equal(again(x), family.export(1.0)(x))
    with pytest.warns(UserWarning, match="buffer 'scale' of the Scaled given has other values"):
        load_member(tmp_path / "member", Scaled(0.0))


@pytest.mark.slow
def test_the_files_need_only_torch_and_safetensors(family: Family, tmp_path: Path) -> None:
    save_member(family, 1.0, tmp_path / "m", meta=META)
    code = (
        "import sys, torch; from safetensors.torch import load_file; from torch import nn; "
        "net = nn.Sequential(); net.fc1 = nn.Linear(3, 4); net.relu1 = nn.ReLU(); net.fc2 = nn.Linear(4, 2); "
        "net.load_state_dict(load_file(sys.argv[1])); print(net(torch.ones(1, 3)).tolist()); "
        "assert 'netdial' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m/model.safetensors")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == family.export(1.0)(torch.ones(1, 3)).tolist()


def test_torch_export_runs_any_batch(family: Family, tmp_path: Path) -> None:
    done = save_member(family, 1.0, tmp_path / "m.pt2", "torch-export", inputs(1, 3))
    run = torch.export.load(tmp_path / "m.pt2").module()
    x = inputs(17, 3)
    torch.testing.assert_close(run(x), family.export(1.0)(x))
    assert done.size_bytes == (tmp_path / "m.pt2").stat().st_size
    assert done.max_difference <= 1e-6


def onnx_outputs(path: Path, x: Tensor) -> Tensor:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["output"], {"input": x.numpy()})[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "x"),
    [
        (build("mlp:4", input_shape=(3,), n_outputs=2), inputs(9, 3)),
        pytest.param(
            build("resnet20", input_shape=(1, 8, 8), n_outputs=2),
            inputs(3, 1, 8, 8),
            marks=pytest.mark.slow,
        ),
        pytest.param(Reader(), torch.arange(30).view(5, 6) % 11, marks=pytest.mark.slow),
    ],
    ids=["mlp", "resnet20", "reader"],
)
def test_onnx_agrees_in_onnxruntime(
    net: nn.Module, x: Tensor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    family = family_of(net)
    done = save_member(family, 1.0, tmp_path / "m.onnx", "onnx", x[:2])
    assert capfd.readouterr().out == ""
    torch.testing.assert_close(
        onnx_outputs(tmp_path / "m.onnx", x), family.export(1.0)(x), rtol=1e-4, atol=1e-4
    )
    assert done.max_difference < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_described_input_shape_stands_in_for_an_example(family: Family, tmp_path: Path) -> None:
    save_member(family, 1.0, tmp_path / "m.pt2", "torch-export", meta=META)
    assert torch.export.load(tmp_path / "m.pt2").module()(inputs(4, 3)).shape == (4, 2)


def test_formats_are_named(family: Family, tmp_path: Path) -> None:
    assert set(FORMATS) == {"safetensors", "torch-export", "onnx"}
    with pytest.raises(ConfigError, match="unknown export format 'onx'; did you mean 'onnx'"):
        save_member(family, 1.0, tmp_path / "m", "onx")


def test_a_value_outside_the_range_is_refused(family: Family, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lam=1000: outside the trained range"):
        save_member(family, 1000, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_bad_examples_are_refused(family: Family, tmp_path: Path, format: str) -> None:
    with pytest.raises(ConfigError, match="give example="):
        save_member(family, 1.0, tmp_path / "m", format)
    with pytest.raises(ShapeError, match=r"example of shape \[2, 7\].*does not take it"):
        save_member(family, 1.0, tmp_path / "m", format, inputs(2, 7))
    for several in ((inputs(2, 3), inputs(2, 3)), {}):
        with pytest.raises(ShapeError, match=rf"example: {len(several)} inputs.*takes one"):
            save_member(family, 1.0, tmp_path / "m", format, several)
    for single in ((inputs(2, 3),), {"x": inputs(2, 3)}):
        save_member(family, 1.0, tmp_path / "one", format, single)


def test_a_network_that_cannot_be_traced_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(
        TraceError, match="Moody cannot be exported as torch-export, nothing was written"
    ):
        save_member(family_of(Moody()), 1.0, tmp_path / "m", "torch-export", inputs(2, 3))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_outputs_that_differ_are_refused(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "TOLERANCE", -1.0)
    with pytest.raises(TraceError, match="outputs differ from the network's by"):
        save_member(family, 1.0, tmp_path / "m.onnx", "onnx", inputs(2, 3))
    assert not list(tmp_path.iterdir())


def test_an_example_of_zeros_still_tests_the_weights(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[ExampleBatch] = []
    compare = writing.compare

    def spy(net: nn.Module, run: checking.Run, batch: ExampleBatch) -> float:
        compared.append(batch)
        return compare(net, run, batch)

    monkeypatch.setattr(writing, "compare", spy)
    save_member(family, 1.0, tmp_path / "m.pt2", "torch-export", torch.zeros(2, 3))
    assert bool(compared[0].x[0].all())
    net, other = family.export(1.0), family.export(1.0)
    other.get_parameter("fc1.weight").data.mul_(2)
    with pytest.raises(TraceError, match="outputs differ"):
        compare(net, other, compared[0])


@pytest.mark.parametrize("absent", ["onnx", "onnxscript", "onnxruntime"])
def test_onnx_says_what_to_install(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(
        MissingExtra, match=r"export to ONNX needs: pip install 'netdial\[export\]'"
    ):
        save_member(family, 1.0, tmp_path / "m.onnx", "onnx", inputs(2, 3))


def test_an_unwritable_place_is_one_clear_line(family: Family, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="could not be written"):
        save_member(family, 1.0, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_what_does_not_belong_is_refused_on_loading(family: Family, tmp_path: Path) -> None:
    place = tmp_path / "m"
    with pytest.raises(CheckpointError, match=r"config.json: is missing or damaged"):
        load_member(place)
    save_member(family, 1.0, place, meta=META)
    with pytest.raises(CheckpointError, match=r"does not fit the Linear \(fc.* is missing"):
        load_member(place, nn.Linear(3, 2))
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"model.safetensors: is missing or damaged"):
        load_member(place)
    config = json.loads((place / "config.json").read_text())
    for change, message in (({"format": 9}, "has format 9"), ({"kind": "x"}, "does not describe")):
        (place / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(CheckpointError, match=message):
            load_member(place)
    (place / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_member(place)


def test_a_disk_that_is_full_leaves_the_member_that_was_there(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New weights were left beside the description of the old ones, and nothing could be loaded."""
    save_member(family, 0.1, tmp_path / "m.safetensors", meta=META)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if ".json." in path.name:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"No space left.*free some space"):
        save_member(family, 1.0, tmp_path / "m.safetensors", meta=META)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert load_member(tmp_path / "m.safetensors") is not None
