"""Two processes shrink a network as one does with the same batches, and hold the same network at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = """
import os, sys, torch
from pathlib import Path
from torch import nn

from netdial.channels import clock as clock_
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.shrink import prepare, run
from netdial.core.storage.container import save_tree

devices, folder = int(sys.argv[1]), Path(sys.argv[2])
source = torch.Generator().manual_seed(7)
y = torch.arange(66) % 3
x = torch.randn(3, 5, generator=source)[y] + torch.randn(66, 5, generator=source)

NETS = {
    "mlp": lambda: nn.Sequential(nn.Linear(5, 14), nn.ReLU(), nn.Linear(14, 9), nn.Tanh(), nn.Linear(9, 3)),
    "norm": lambda: nn.Sequential(nn.Linear(5, 14), nn.BatchNorm1d(14), nn.ReLU(), nn.Linear(14, 3)),
    "dropout": lambda: nn.Sequential(nn.Linear(5, 14), nn.Dropout(0.2), nn.ReLU(), nn.Linear(14, 3)),
}
GRADIENT = {"penalty": "subgradient", "start": "sampled", "lam": 0.2, "lr": 0.05}
CASES = {
    "lam": ("mlp", {"lam": 0.18}),
    "float32": ("mlp", {"lam": 0.18, "precision": "32-true"}),
    "uneven": ("mlp", {"lam": 0.14, "batch_size": 19}),
    "weighed": ("mlp", {"lam": 0.16, "weigh": "macs", "clip": 0.5}),
    "subgradient": ("mlp", GRADIENT),
    "sign-variance": ("mlp", {**GRADIENT, "kill": "sign-variance"}),
    "size": ("mlp", {"size": "120 params"}),
    "norm": ("norm", {"size": "60 params"}),
    "dropout": ("dropout", {"lam": 0.2}),
    "ms": ("mlp", {"size": "2.5 ms"}),
    "unseeded": ("mlp", {"lam": 0.18}),
}

def clock(nets, x):
    # the second process is the slower one
    rank = torch.distributed.get_rank() if devices == 2 else 0
    return [(1 + 1e-2 * sum(p.numel() for p in net.parameters())) * (1 + rank / 3) for net in nets]

clock_.quiet_ms = clock
for name, (net, settings) in CASES.items():
    options = {
        "epochs": 5, "batch_size": 22, "collect_every": 2, "switch_rate": 0.7, "precision": "64-true", **settings
    }
    if devices == 2:
        options.update(devices=2, strategy="ddp", accelerator="cpu")
    config = ShrinkConfig(**options).for_rows(len(x))
    torch.manual_seed(1 + (name == "unseeded") * int(os.environ.get("LOCAL_RANK", 0)))
    done = run(
        prepare(NETS[net](), x[:2], config), (x, y), (x, y), kind="classification", config=config,
        checkpoint=folder / f"{name}.checkpoint",
    )
    rank = torch.distributed.get_rank() if devices == 2 else 0
    found = {
        "state": dict(done.net.state_dict()),
        "plan": done.plan.to_json(),
        "gone": [[event.step, {k: list(v) for k, v in event.gone.items()}] for event in done.events],
        "widths": done.widths,
    }
    save_tree(folder / f"{name}.{rank}", found, "test")
"""
ALIKE = ["lam", "float32", "uneven", "weighed", "subgradient", "sign-variance", "size", "unseeded"]
CASES = [*ALIKE, "norm", "dropout", "ms"]


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
        capture_output=True, text=True, timeout=250, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process made, and what two made."""
    root = tmp_path_factory.mktemp("shrink")
    launched(root / "one", 1)
    launched(root / "two", 2)
    return root / "one", root / "two"


def made(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    from netdial.core.storage.container import load_tree

    found: dict[str, Any] = load_tree(folder / f"{name}.{rank}", "test")
    return found


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_are_one(folders: tuple[Path, Path], name: str) -> None:
    """But for BatchNorm and dropout, which see or draw for each share of a batch by itself, and for clocks."""
    one, two = (made(folder, name) for folder in folders)
    assert one["gone"] and one["gone"] == two["gone"]
    assert one["plan"] == two["plan"] and one["widths"] == two["widths"]
    assert max(one["widths"].values()) > 1
    tolerance = 1e-6 if name != "float32" else 1e-4
    for key, leaf in one["state"].items():
        assert torch.allclose(leaf, two["state"][key], rtol=tolerance, atol=tolerance), key


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize("name", CASES)
def test_all_processes_hold_the_same_network(folders: tuple[Path, Path], name: str) -> None:
    """Bit by bit, running statistics too; and so does the checkpoint, which the first one writes."""
    from netdial.core.storage.container import load_tree

    first, second = (made(folders[1], name, rank) for rank in (0, 1))
    assert first["gone"], "nothing was removed"
    for key in ("gone", "plan", "widths"):
        assert first[key] == second[key], key
    saved = load_tree(folders[1] / f"{name}.checkpoint", "checkpoint")["state"]["module"]
    for key, leaf in first["state"].items():
        assert torch.equal(leaf, second["state"][key]), key
        assert torch.equal(leaf, saved[key]), key
