"""Models in files: what was written comes back, what was changed or damaged is refused in words, other files are told."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import netdial as nd

from .situations import refused, right

NET = {"spec": "mlp:6", "input_shape": [3], "n_outputs": 2}


def mlp() -> nn.Module:
    return nd.build("mlp:6", input_shape=(3,), n_outputs=2)


def family_file(folder: Path) -> Path:
    nd.save(nd.Family(mlp()), folder / "family", about={"net": NET})
    return folder / "family"


def member_file(folder: Path) -> Path:
    nd.save(nd.Family(mlp()), folder / "m.safetensors", lam=1.0, about={"net": NET})
    return folder / "m.safetensors"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << 6
    path.write_bytes(data)


def rewrite(path: Path, change: dict[str, torch.Tensor]) -> None:
    """Writes a file again with other tensors and the header that it had."""
    with safe_open(path, "pt") as file:
        meta, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({**tensors, **change}, path, meta)


@right
def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    """A family and a member from files compute what they did, bit for bit."""
    family = nd.Family(mlp())
    x = torch.randn(5, 3)
    nd.save(family, tmp_path / "f", about={"net": NET})
    nd.save(family, tmp_path / "m", lam=0.3, about={"net": NET})
    wanted = family.export(0.3)(x)
    assert torch.equal(nd.load_model(tmp_path / "f").export(0.3)(x), wanted)
    assert torch.equal(nd.load_model(tmp_path / "m")(x), wanted)


@refused("SHA-256")
def test_a_flipped_bit_in_a_weight_of_a_member(tmp_path: Path) -> None:
    """One bit of the last weight: it would be 1e37; it is refused."""
    path = member_file(tmp_path)
    flip(path, -5)
    nd.load_model(path)


@refused("changed")
def test_a_flipped_bit_in_a_weight_of_a_family(tmp_path: Path) -> None:
    """The same in a family."""
    path = family_file(tmp_path)
    flip(path, -5)
    nd.load_model(path)


@refused("changed")
def test_an_edited_range(tmp_path: Path) -> None:
    """``lo`` edited from 0.001 to 0.002 in the header moves every member; it is refused."""
    path = family_file(tmp_path)
    data = path.read_bytes()
    assert b"0.001" in data
    path.write_bytes(data.replace(b"0.001", b"0.002"))
    nd.load_model(path)


@refused("changed")
def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    """NaN put in place of a tensor."""
    path = family_file(tmp_path)
    with safe_open(path, "pt") as file:
        name = next(iter(file.keys()))
        shape = file.get_tensor(name).shape
    rewrite(path, {name: torch.full(shape, torch.nan)})
    nd.load_model(path)


@refused("changed")
def test_an_edited_description_of_a_member(tmp_path: Path) -> None:
    """λ = 99 in the description of a member at 1."""
    nd.save(nd.Family(mlp()), tmp_path / "m", lam=1.0, about={"net": NET})
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lam": 99}))
    nd.load_model(tmp_path / "m")


@refused("config.json")
def test_a_description_nested_without_end(tmp_path: Path) -> None:
    """JSON nested 100,000 deep exhausts no stack."""
    nd.save(nd.Family(mlp()), tmp_path / "m", lam=1.0, about={"net": NET})
    (tmp_path / "m" / "config.json").write_text("[" * 100_000 + "]" * 100_000)
    nd.load_model(tmp_path / "m")


@refused("1000000000")
def test_a_network_of_a_billion_in_a_description(tmp_path: Path) -> None:
    """A description that asks for 24 GB takes no memory; what it says is named."""
    net = {**NET, "spec": "mlp:1000000000"}
    nd.save(nd.Family(mlp()), tmp_path / "m", lam=1.0, about={"net": net})
    nd.load_model(tmp_path / "m")


@refused("family")
def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    """Half of a file."""
    path = family_file(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    nd.load_model(path)


@refused("no such file")
def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A path that leads nowhere."""
    nd.load_model(tmp_path / "nowhere")


@refused("family")
def test_an_empty_folder_in_place_of_a_file(tmp_path: Path) -> None:
    """A folder where a file was meant."""
    (tmp_path / "family").mkdir()
    nd.load_model(tmp_path / "family")


TOUCHED = "touched-by-a-pickle"


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (TOUCHED, "w")


@refused("net.pt")
def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    """A pickled file is told for what it is not, and nothing in it is called."""
    (tmp_path / "net.pt").write_bytes(pickle.dumps(Payload()))
    try:
        nd.load_model(tmp_path / "net.pt")
    finally:
        assert not Path(TOUCHED).exists()


@refused("table.csv")
def test_a_table_is_no_model(tmp_path: Path) -> None:
    """A CSV file given as a model."""
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    nd.load_model(tmp_path / "table.csv")


@refused("net=")
def test_a_model_of_a_network_of_ones_own_without_it(tmp_path: Path) -> None:
    """A family around a network of one's own class: the message asks for it."""
    nd.save(nd.Family(nn.Linear(3, 2)), tmp_path / "f")
    nd.load_model(tmp_path / "f")


@refused("0.weight")
def test_another_network_than_the_one_that_was_saved(tmp_path: Path) -> None:
    """A family of mlp:6 opened with a network of another shape."""
    torch.manual_seed(0)
    nd.save(nd.Family(nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))), tmp_path / "f")
    nd.load_model(tmp_path / "f", nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 2)))


@right
def test_inspecting_says_what_a_file_is(tmp_path: Path) -> None:
    """A member: its λ, its 38 parameters, and how it is loaded."""
    said = str(nd.inspect(member_file(tmp_path)))
    assert "λ = 1" in said and "38 parameters" in said and "nd.load_model(" in said


@right
def test_a_shrunken_network_opens_by_itself(tmp_path: Path) -> None:
    """What ``shrink`` leaves computes the same after it was saved and loaded."""
    x = torch.randn(40, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = nd.shrink(mlp(), (x, (x[:, 0] > 0).long()), epochs=2, batch_size=20, lam=0.01)
    nd.save(small, tmp_path / "s.safetensors", about={"net": NET})
    torch.testing.assert_close(nd.load_model(tmp_path / "s.safetensors")(x), small.net.eval()(x))
