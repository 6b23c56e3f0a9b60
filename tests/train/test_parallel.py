"""Data-parallel training: two processes give what one gives with the same global batch, statistics included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import os, sys, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from netdial.family.family import Family
from netdial.train.fit import run
from netdial.train.config import make_config
from netdial.core.storage.container import load_tree, save_tree
from netdial.core.errors import DataError
from pathlib import Path

devices, folder = int(sys.argv[1]), Path(sys.argv[2])
source = torch.Generator().manual_seed(7)
y = torch.arange(66) % 3
x = torch.randn(3, 5, generator=source)[y] + torch.randn(66, 5, generator=source)

NETS = {
    "mlp": lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)),
    "norm": lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)),
    "dropout": lambda: nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.3), nn.Linear(6, 3)),
}
CASES = {
    "plain": ("mlp", {}),
    "uneven": ("mlp", {"batch_size": 19}),
    "one-left-over": ("mlp", {"batch_size": 65}),
    "independent": ("mlp", {"sampling": "independent"}),
    "whole": ("mlp", {"sampling": "whole"}),
    "clipped": ("mlp", {"clip": 0.1, "optimizer": "AdamW"}),
    "norm": ("norm", {"groups": 8, "joint": 0}),
    "dropout": ("dropout", {"joint": 0}),
    "joint": ("mlp", {"joint": 0.5}),
    "table": ("mlp", {"map": "table", "lams": (0.01, 1.0, 50.0)}),
    "loader": ("mlp", {}),
    "unseeded": ("norm", {"groups": 8, "joint": 0}),
}
for name, (net, settings) in CASES.items():
    options = {"epochs": 3, "batch_size": 22, "groups": 4, **settings}
    if devices == 2:
        options.update(devices=2, strategy="ddp", accelerator="cpu")
    config = make_config(**options)
    torch.manual_seed(1 + (name == "unseeded") * int(os.environ.get("LOCAL_RANK", 0)))
    family = Family(NETS[net](), config.family())
    data = DataLoader(TensorDataset(x, y), batch_size=22, shuffle=True) if name == "loader" else (x, y)
    epochs = []
    run(
        family, data, (x, y), kind="classification", config=config, report=epochs.append,
        checkpoint=folder / f"{name}.checkpoint",
    )
    rank = torch.distributed.get_rank() if devices == 2 else 0
    valid = [epoch.valid for epoch in epochs]
    save_tree(folder / f"{name}.{rank}", {"state": dict(family.state_dict()), "valid": valid}, "test")

if devices == 2:
    for rows, held in (((x, y), (x[torch.randperm(66)], y)), ((x + rank, y), (x, y))):
        try:
            run(family, rows, held, kind="classification", config=config)
        except DataError as error:
            with open(folder / f"refused.{rank}", "a") as file:
                print(error, file=file)
"""
CASES = [
    "plain",
    "uneven",
    "one-left-over",
    "independent",
    "clipped",
    "norm",
    "dropout",
    "joint",
    "table",
    "loader",
    "unseeded",
]


def launched(folder: Path, devices: int) -> None:
    """Runs the script, as a user would, on one or two processes."""
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    hidden = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {k: v for k, v in os.environ.items() if k not in hidden} | {
        "OMP_NUM_THREADS": "1"
    }
    done = subprocess.run(
        [sys.executable, str(script), str(devices), str(folder)],
        capture_output=True, text=True, timeout=200, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process made, and what two made."""
    root = tmp_path_factory.mktemp("parallel")
    launched(root / "one", 1)
    launched(root / "two", 2)
    return root / "one", root / "two"


def states(folder: Path, name: str, rank: int = 0) -> dict[str, torch.Tensor]:
    from netdial.core.storage.container import load_tree

    found: dict[str, torch.Tensor] = load_tree(folder / f"{name}.{rank}", "test")["state"]
    return found


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize("name", [name for name in CASES if name != "one-left-over"])
def test_two_processes_are_one(folders: tuple[Path, Path], name: str) -> None:
    """But for a last batch with fewer examples than processes, which two leave out."""
    one, two = (states(folder, name) for folder in folders)
    assert list(one) == list(two)
    for key in one:
        assert torch.allclose(one[key], two[key], rtol=1e-4, atol=1e-5), key


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize("name", CASES)
def test_all_processes_hold_the_same_family(folders: tuple[Path, Path], name: str) -> None:
    """Bit by bit, statistics of normalisation too; and so does the checkpoint, which the first one writes."""
    from netdial.core.storage.container import load_tree

    first, second = (states(folders[1], name, rank) for rank in (0, 1))
    saved = load_tree(folders[1] / f"{name}.checkpoint", "checkpoint")["state"]["family"]
    for key in first:
        assert torch.equal(first[key], second[key]), key
        assert torch.equal(first[key], saved[key]), key
    valid = [load_tree(folders[1] / f"{name}.{rank}", "test")["valid"] for rank in (0, 1)]
    assert valid[0] == valid[1] and len(valid[0]) == 3


@pytest.mark.slow
@pytest.mark.dist
def test_data_that_differ_among_processes_are_refused(folders: tuple[Path, Path]) -> None:
    """Rows that a script splits or makes without a seed: gradients of both were added up without a word."""
    for rank in (0, 1):
        valid, train = (folders[1] / f"refused.{rank}").read_text().splitlines()
        assert valid.startswith("validation part: the 2 processes of this training have different")
        assert train.startswith("training part: ") and "random_state=0" in train
