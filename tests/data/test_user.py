"""A user's function: every form of its parts, and errors that point into the user's file."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from netdial.core.errors import ConfigError, DataError
from netdial.data import load_data, load_user

HEAD = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset as TorchDataset, TensorDataset
import netdial.data as nd

x = torch.arange(24.0).reshape(12, 2)
y = torch.arange(12) % 3
net = nn.Linear(2, 3)


class Pairs(TorchDataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return x[i], int(y[i])


def pairs():
    return net, (x, y), (x, y), (x, y)


def arrays():
    return net, (x.double().numpy(), y.numpy()), [x.tolist(), y.tolist()], (x, y[:, None])


def mixed():
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    return net, nd.Dataset(x, y), Pairs(), loader


def shuffled():
    return net, DataLoader(Pairs(), shuffle=True, batch_size=4), (x, y), (x, y)


def regression():
    return net, (x, x[:, 0].double()), (x, x[:, 0]), (x, x[:, 0])


def wide():
    return nn.Linear(2, 1).double(), *[(x.double(), torch.arange(12.0).double() / 3)] * 3


def tokens():
    return net, (x.long(), y), (x.long(), y), (x.long(), y)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project folder, which is the current one; its module is ``mine``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    yield tmp_path / "mine.py"
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("name", ["pairs", "arrays", "mixed"])
def test_every_form_gives_the_same(mine: Path, name: str) -> None:
    mine.write_text(HEAD)
    path = list(sys.path)
    module, task = load_user(f"mine:{name}")
    assert isinstance(module, torch.nn.Linear) and sys.path == path
    assert task.kind == "classification" and task.n_outputs == 3
    for part in (task.train, task.valid, task.test):
        assert torch.equal(part.x, torch.arange(24.0).reshape(12, 2))
        assert torch.equal(part.y, torch.arange(12) % 3)
    assert load_data(f"mine:{name}").name == f"mine:{name}"


@pytest.mark.filterwarnings("ignore:.*a DataLoader is read once")
def test_shuffled_loader_is_read_by_seed(mine: Path) -> None:
    mine.write_text(HEAD)
    state = torch.get_rng_state()
    one, two = (load_user("mine:shuffled", seed=s)[1].train.x for s in (1, 2))
    assert torch.equal(load_user("mine:shuffled", seed=1)[1].train.x, one)
    assert not torch.equal(one, two)
    assert torch.equal(one.sort(0).values, two.sort(0).values)
    assert torch.equal(torch.get_rng_state(), state)


def test_regression_and_tokens(mine: Path) -> None:
    mine.write_text(HEAD)
    task = load_data("mine:regression")
    assert task.kind == "regression" and task.train.y.shape == (12, 1)
    assert task.train.y.dtype == torch.float32
    assert load_data("mine:tokens").train.x.dtype == torch.int64
    assert load_data("mine:pairs", kind="regression").train.y.dtype == torch.float32
    wide = load_data("mine:wide")
    assert wide.train.x.dtype == wide.train.y.dtype == torch.float64
    assert float(wide.train.y[1]) == 1 / 3


def test_targets_at_many_places(mine: Path) -> None:
    maps = "torch.arange(12)[:, None].repeat(1, 5) % 4, torch.zeros(12, 2, 3)"
    mine.write_text(
        f"{HEAD}\nmaps, arrays = {maps}\nmaps[0, 2:] = -100\n"
        "def classes():\n    return net, *[(x, maps)] * 3\n\n"
        "def numbers():\n    return net, *[(x, arrays.double())] * 3\n"
    )
    classes, numbers = load_data("mine:classes"), load_data("mine:numbers")
    assert (classes.kind, classes.n_outputs, len(classes.classes)) == ("dense-classification", 4, 4)
    assert classes.train.y.dtype == torch.int64 and classes.train.y.shape == (12, 5)
    assert (numbers.kind, numbers.n_outputs, numbers.classes) == ("dense-regression", 6, ())
    assert numbers.train.y.dtype == torch.float32 and numbers.train.y.shape == (12, 2, 3)
    assert load_data("mine:classes", kind="regression").train.y.dtype == torch.float32


def test_exception_is_reported_with_its_line(mine: Path) -> None:
    mine.write_text("import torch\n\n\ndef make():\n    depth = []\n    return depth[3]\n")
    with pytest.raises(DataError, match=r"mine:make raised IndexError: .*mine\.py, line 6") as got:
        load_user("mine:make")
    assert isinstance(got.value.__cause__, IndexError)


def test_exception_inside_a_library_points_to_the_users_line(mine: Path) -> None:
    mine.write_text("import json\n\ndef make():\n    return json.loads('{')\n")
    with pytest.raises(DataError, match=r"raised JSONDecodeError: .*mine\.py, line 4"):
        load_user("mine:make")


def test_exception_of_the_users_dataset(mine: Path) -> None:
    text = HEAD.replace("        return x[i], int(y[i])", "        raise OSError('disk gone')")
    mine.write_text(text)
    with pytest.raises(DataError, match=r"raised OSError: disk gone \(.*mine\.py, line 18\)"):
        load_user("mine:mixed")


def test_import_errors(mine: Path) -> None:
    with pytest.raises(ConfigError, match=r"no module 'mine' in .*run netdial from the folder"):
        load_user("mine:make")
    mine.write_text("import no_such_library\n")
    with pytest.raises(DataError, match=r"raised ModuleNotFoundError.*mine\.py, line 1"):
        load_user("mine:make")
    mine.write_text("def make(:\n")
    with pytest.raises(DataError, match=r"raised SyntaxError.*mine\.py, line 1"):
        load_user("mine:make")


def test_unknown_function_and_arguments(mine: Path) -> None:
    mine.write_text("def make(size):\n    return size\n")
    with pytest.raises(ConfigError, match="unknown function in mine 'mak'; did you mean 'make'"):
        load_user("mine:mak")
    with pytest.raises(ConfigError, match=r"called without arguments.*'size'"):
        load_user("mine:make")
    with pytest.raises(ConfigError, match=r"expected package\.module:function"):
        load_user("mine:")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", r"returned NoneType; it must return \(module, train, valid, test\)"),
        ("(net, (x, y))", r"returned tuple\(Linear, tuple\); it must return"),
        ("((x, y), net, (x, y), (x, y))", "with a torch module first"),
        ("(net, x, (x, y), (x, y))", r"train: got one tensor \[12, 2\] and no targets"),
        ("(net, (x, y[:5]), (x, y), (x, y))", "train: inputs and targets differ in length"),
        ("(net, (x, ['a'] * 12), (x, y), (x, y))", "train: targets: texts"),
        ("(net, (x / 0, y), (x, y), (x, y))", "train: inputs: nan in row 0"),
        ("(net, (x, y), (x, y), (x.log(), y))", "test: inputs: -inf in row 0"),
        ("(net, (x, y / 0.), (x, y), (x, y))", "train: targets: nan in row 0"),
        ("(net, (x, y * 0), (x, y), (x, y))", "one class only"),
        ("(net, (x, y - 1), (x, y), (x, y))", "labels run from -1 to 1"),
        ("(net, (x[:1], y[:1]), (x, y), (x, y))", r"train part: 1 row\(s\); at least 2"),
        ("(net, (x[:0], y[:0]), (x, y), (x, y))", r"train part: 0 row\(s\)"),
        ("(net, (x, y), (x[:0], y[:0]), (x, y))", r"valid part: 0 row\(s\); at least 1"),
        ("(net, (x, y), (x[:, :1], y), (x, y))", r"valid part: inputs of shape \[1\]"),
        ("(net, (x, y), (x, y[:, None].repeat(1, 3)), (x, y))", r"must be int64 of shape \[N\]"),
        (
            "(net, (x, y[:, None].repeat(1, 3)), (x, y), (x, y))",
            r"valid part: targets of shape \[\]",
        ),
        (
            "(net, *[(x, y[:, None].repeat(1, 3) - 1)] * 3)",
            "labels run from -1; .* 0 to 1, and -100",
        ),
        ("(net, *[(x, 0 * y[:, None].repeat(1, 3))] * 3)", "one class only"),
        ("(net, *[(x, torch.full((12, 2, 2), float('inf')))] * 3)", "train: targets: inf in row 0"),
        ("(net, DataLoader(x), (x, y), (x, y))", "train: batch 0: got one tensor"),
        ("(net, DataLoader(Pairs(), batch_size=20, drop_last=True), 0, 0)", "train: is empty"),
    ],
)
def test_what_is_refused(mine: Path, returned: str, message: str) -> None:
    mine.write_text(f"{HEAD}\n\ndef make():\n    return {returned}\n")
    with pytest.raises(DataError, match=message):
        load_user("mine:make")


@pytest.mark.parametrize(
    ("loader", "told"),
    [
        ("DataLoader(Pairs())", ()),
        ("DataLoader(Pairs(), shuffle=True)", ()),
        (
            "DataLoader(Pairs(), batch_size=4)",
            (r"train: .*batch_size=4 is not used.*--batch-size 4\)$",),
        ),
        (
            "DataLoader(Pairs(), batch_size=5, drop_last=True)",
            ("drop_last=True leaves out 2 of 12", "train: .*batch_size=5 is not used"),
        ),
        (
            "DataLoader(Pairs(), sampler=WeightedRandomSampler([1.0] * 12, 9))",
            ("train: .*read once.*: the part is the 9 examples of one pass, .* of 12",),
        ),
    ],
)
def test_what_a_loader_says_of_batches_and_is_not_used_is_told(
    mine: Path, loader: str, told: tuple[str, ...]
) -> None:
    header = f"{HEAD}\nfrom torch.utils.data import WeightedRandomSampler\n"
    plain = "DataLoader(Pairs(), batch_size=4)"
    mine.write_text(f"{header}\n\ndef make():\n    return net, {loader}, {plain}, {plain}\n")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load_user("mine:make")
    assert len(seen) == len(told)
    assert all(re.search(one, str(w.message)) for one, w in zip(told, seen, strict=True))


def test_labels_with_fractions(mine: Path) -> None:
    mine.write_text(f"{HEAD}\n\ndef make():\n    return net, *[(x, y + .5)] * 3\n")
    with pytest.raises(DataError, match="class labels must be whole numbers"):
        load_user("mine:make", kind="classification")


def test_a_function_written_in_c() -> None:
    with pytest.raises(DataError, match=r"os:getcwd returned str; it must return"):
        load_data("os:getcwd")


def test_a_module_is_drawn_from_its_own_seed_and_the_parts_from_theirs(mine: Path) -> None:
    mine.write_text(
        HEAD
        + "\n\ndef fresh():\n    x = torch.randn(12, 2)\n    return nn.Linear(2, 3), (x, y), (x, y), (x, y)\n"
    )
    (first, parts), (other, same) = (
        load_user("mine:fresh", seed=3, start=start) for start in (3, 4)
    )
    assert torch.equal(parts.train.x, same.train.x)
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(other.weight, load_user("mine:fresh", seed=3, start=4)[0].weight)


def test_a_module_that_every_caller_gets_stays_as_it_is(mine: Path) -> None:
    mine.write_text(HEAD)
    module, _ = load_user("mine:pairs")
    with torch.no_grad():
        module.weight.zero_()
    assert bool(load_user("mine:pairs")[0].weight.any())


def test_a_dataset_keeps_its_units_and_is_read_in_the_type_of_the_network(mine: Path) -> None:
    mine.write_text(
        f"{HEAD}\nfrom netdial.data.scale import TargetScale\n\n\ndef make():\n"
        "    part = nd.Dataset(x.double(), x[:, :1], target=TargetScale(('price',), (100.0,), (50.0,)))\n"
        "    return nn.Linear(2, 1), part, part, part\n"
    )
    _, task = load_user("mine:make")
    assert task.train.x.dtype == torch.float32
    assert task.train.target is not None
    assert task.train.target.restore(torch.tensor([[1.0]])).item() == 150.0


def test_weights_of_a_dataset_are_checked(mine: Path) -> None:
    mine.write_text(
        f"{HEAD}\n\ndef make():\n    part = nd.Dataset(x, y, weight=-torch.ones(12))\n"
        "    return net, part, part, part\n"
    )
    with pytest.raises(DataError, match="mine:make, train: weight -1 in row 0"):
        load_user("mine:make")


def test_all_parts_have_the_units_of_the_training_part(mine: Path) -> None:
    mine.write_text(
        f"{HEAD}\nfrom netdial.data.scale import TargetScale\n\n\ndef part(mean, std):\n"
        "    return nd.Dataset(x, (x[:, :1] - mean) / std, target=TargetScale(('price',), (mean,), (std,)))\n"
        "\n\ndef make():\n    return nn.Linear(2, 1), part(1.0, 2.0), part(0.0, 1.0), part(5.0, 0.5)\n"
    )
    _, task = load_user("mine:make")
    assert torch.allclose(task.valid.y, task.train.y, atol=1e-6)
    assert torch.allclose(task.test.y, task.train.y, atol=1e-6)
