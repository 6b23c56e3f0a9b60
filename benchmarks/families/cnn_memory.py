"""Peak memory of training the paper's CNN (9.07M parameters) as a family, over that of plain training (batch 128).

Each is trained for a few steps in a fresh process of its own. What counts is how far the process's peak resident memory
rises above what it was once everything had been imported: parameters, gradients, optimiser state, activations, batches
and whatever the arithmetic holds for a moment. Images are random tensors, for their values do not matter here.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.common.result import Result
from benchmarks.families import cnn_cost
from netdial.train.feed import Batch

_ROOT = Path(__file__).parents[2]


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio of net peaks."""
    steps = 2 if quick else 5
    found = {label: in_new_process(label, steps) for label in ("plain", "family")}
    rows: list[dict[str, object]] = [
        {
            "training": label,
            "peak, MiB": peak,
            "after imports, MiB": before,
            "net, MiB": peak - before,
        }
        for label, (before, peak) in found.items()
    ]
    net = {label: peak - before for label, (before, peak) in found.items()}
    return Result(
        "cnn-memory",
        net["family"] / net["plain"],
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline="one plain CNN, batch 128, fused Adam, one thread; peak resident memory less that after imports",
        floor="4.0 for parameters, gradients and Adam's moments (two ends of mean and log_std for each weight), "
        "0.25 for activations (a group is a quarter of the batch)",
        rows=rows,
    )


def in_new_process(label: str, steps: int) -> tuple[float, float]:
    """Returns MiB of peak resident memory after the imports and after training, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.families.cnn_memory", label, str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=_ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    before, peak = json.loads(done.stdout.splitlines()[-1])
    return before, peak


def trained(label: str, steps: int) -> tuple[float, float]:
    """Trains in this process; returns MiB of peak resident memory before and after."""
    torch.set_num_threads(1)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports what an optimiser imports late
    before = peak_mib()
    data, _ = cnn_cost.images(real=False)
    batches = [Batch(data.inputs(i), data.y[i]) for i in torch.arange(len(data)).split(128)]
    make = {
        "plain": lambda: cnn_cost.plain_step(batches)[-1],
        "family": lambda: cnn_cost.family_step(batches, n_data=45_000)[-1],
    }
    step = make[label]()
    for _ in range(steps):
        step()
    return before, peak_mib()


def peak_mib() -> float:
    """Returns this process's peak resident memory in MiB.

    Linux reports it in /proc; ``getrusage``, used elsewhere, may count what the parent held when it started this
    process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    print(json.dumps(trained(sys.argv[1], int(sys.argv[2]))))
