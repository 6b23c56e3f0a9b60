"""A pruned LeNet-300-100 with shared values, as coders of weights are compared on it; kept in ``runs/benchmarks``.

Trained on MNIST by Adam, pruned by size in four rounds to 8, 9 and 26 % of its layers with retraining between, 16 values a
layer by k-means from linear starts (Han et al. 2016, without training the values). One seed: coders are
compared on the same indices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.compression import Codebook
from netdial.core.storage.files import write_atomic

PLACE = Path("runs/benchmarks")
ROUNDS = (((0.4, 0.4, 0.6), 2), ((0.2, 0.22, 0.45), 2), ((0.12, 0.13, 0.33), 2), ((0.08, 0.09, 0.26), 6))  # fmt: skip
"""Fractions kept of the three layers, and epochs after each round."""
NET = {"spec": "mlp:300,100", "input_shape": [784], "n_outputs": 10}


def lenet(*, quick: bool, k: int = 16) -> dict[str, Codebook | np.ndarray[Any, Any]]:
    """Returns the tensors of the network by name: weights as codebooks, biases float32; the quick one is trained less."""
    path = PLACE / f"ndz-lenet300{'-quick' if quick else ''}.npz"
    if not path.exists():
        held = _trained(quick)
        write_atomic(path, lambda made: _kept(made, held))
    with np.load(path) as file:
        state = dict(file)
    return {n: shared(a, k) if a.ndim > 1 else a for n, a in state.items()}


def _kept(path: Path, state: dict[str, np.ndarray[Any, Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, **state)  # type: ignore[arg-type]


def shared(weights: np.ndarray[Any, Any], k: int) -> Codebook:
    """Returns weights with k values besides 0, by k-means from a linear start."""
    kept = weights[weights != 0].astype(np.float64)
    values = np.linspace(kept.min(), kept.max(), k)
    for _ in range(60):
        near = np.searchsorted((values[1:] + values[:-1]) / 2, kept)
        sums, counts = np.bincount(near, kept, k), np.bincount(near, minlength=k)
        values = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), values))
    codes = np.zeros(weights.shape, np.int32)
    codes[weights != 0] = 1 + np.searchsorted((values[1:] + values[:-1]) / 2, kept)
    return Codebook(codes, np.concatenate([[0], values]).astype(np.float32))


def _trained(quick: bool) -> dict[str, np.ndarray[Any, Any]]:
    torch.manual_seed(0)
    data = nd.load_data("mnist", flat=True)
    x, y = data.train.x, data.train.y
    if quick:
        x, y = x[:10_000], y[:10_000]
    net = nd.build("mlp:300,100", input_shape=(784,), n_outputs=10, seed=0)
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    _train(net, layers, x, y, 2 if quick else 10)
    for fractions, epochs in ROUNDS:
        for layer, fraction in zip(layers, fractions, strict=True):
            sizes = layer.weight.detach().abs().flatten()
            cut = sizes.kthvalue(round(len(sizes) * (1 - fraction))).values
            layer.weight.data.mul_(layer.weight.detach().abs() > cut)
        _train(net, layers, x, y, 1 if quick else epochs)
    return {name: leaf.detach().numpy() for name, leaf in net.named_parameters()}


def _train(net: nn.Module, layers: list[nn.Linear], x: Tensor, y: Tensor, epochs: int) -> None:
    """Trains what is not 0, in steps that fall from 1e-3 to 1e-4."""
    masks = [layer.weight.detach() != 0 for layer in layers]
    steps = epochs * (len(x) // 128)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.1, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // 128 * 128].reshape(-1, 128):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                for layer, mask in zip(layers, masks, strict=True):
                    layer.weight.mul_(mask)
