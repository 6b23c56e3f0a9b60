"""A small vision transformer for digits, its training, and Torch-Pruning as its examples cut such networks."""

from __future__ import annotations

import copy
import importlib
import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.peer import count
from netdial.core.noise import generator
from netdial.data import Dataset
from netdial.measure import outputs
from netdial.train import schedules

SIDE, CLASSES = 28, 10


class Attention(nn.Module):
    """Self-attention with one layer for queries, keys and values, as in timm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        each = self.qkv.out_features // (3 * self.heads)
        parts = self.qkv(x).reshape(b, n, 3, self.heads, each).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts.unbind(0))
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, n, self.proj.in_features))
        return out


class Block(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return out


class ViT(nn.Module):
    """Patches, a class token, learned positions, blocks and a linear layer (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int, depth: int, heads: int, patch: int = 7) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 1 + (SIDE // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        out: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return out


def narrow(size: int, depth: int) -> ViT:
    """Returns a dense network with about as many parameters as are asked for, at most."""
    widths = range(4, 49)
    fitting = [w for w in widths if count(ViT(w, depth, 1)) <= size] or [widths[0]]
    width = fitting[-1]
    return ViT(width, depth, math.gcd(width, 4))


def trained(
    net: nn.Module,
    data: Dataset,
    *,
    lr: float,
    seed: int,
    epochs: int = 0,
    seconds: float = 0.0,
    batch: int = 64,
    decay: float = 1e-4,
) -> tuple[nn.Module, float]:
    """Trains a network in place by AdamW and one cycle of the rate; returns it in evaluation mode, and processor time.

    Args:
        net: the network.
        data: training part.
        lr: peak rate.
        seed: of the order of examples.
        epochs: number of epochs; or
        seconds: as many as fit into this processor time, counted from the time of twenty steps.
        batch: examples of a step.
        decay: weight decay of all that has two dimensions or more.
    """
    begin = time.process_time()
    steps = len(data) // batch
    epochs = epochs or _fitting(net, data, batch, steps, seconds)
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in net.parameters():
        parts[parameter.ndim > 1].append(parameter)
    decays = {True: decay, False: 0.0}
    groups = [{"params": parts[wide], "weight_decay": decays[wide]} for wide in parts]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    factor, source = schedules.onecycle(epochs * steps), generator(seed, "order")
    net.train()
    for epoch in range(epochs):
        order = torch.randperm(len(data), generator=source)[: steps * batch]
        for step, index in enumerate(order.split(batch)):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor(epoch * steps + step)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(net(data.inputs(index)), data.y[index]).backward()
            optimizer.step()
    return net.eval(), time.process_time() - begin


def _fitting(net: nn.Module, data: Dataset, batch: int, steps: int, seconds: float) -> int:
    """Returns the epochs that fit into some seconds; a copy is trained to find out."""
    times = []
    for tries in range(2):  # the first warms up
        trial = copy.deepcopy(net)
        optimizer = torch.optim.AdamW(trial.parameters())
        begin = time.process_time()
        for number in range(10 * (1 + tries)):
            index = torch.arange(batch) + number % steps
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(trial(data.inputs(index)), data.y[index]).backward()
            optimizer.step()
        times.append((time.process_time() - begin) / (10 * (1 + tries)))
    return max(1, int(seconds / (times[-1] * steps)))


def accuracy(net: nn.Module, part: Dataset) -> float:
    """Returns the accuracy in points."""
    return float((outputs(net, part).argmax(1) == part.y).float().mean()) * 100


def peer_cut(net: ViT, data: Dataset, goal: float, recipe: str, seed: int) -> ViT:
    """Returns a copy that Torch-Pruning has cut to at most ``goal`` parameters, as in its examples for transformers.

    Channels inside heads go, as many of each head, and the residual stream goes through LayerNorm, as the library does by
    default. A recipe is an importance of groups and what is ranked together: ``uniform`` the same share of each layer,
    ``global`` all layers, ``isomorphic`` layers of the same kind (Fang et al. 2024).
    """
    pruning: Any = importlib.import_module("torch_pruning")
    kind, scope = recipe.split()
    kinds = {
        "magnitude": pruning.importance.GroupMagnitudeImportance,
        "taylor": pruning.importance.GroupTaylorImportance,
    }
    small, steps = copy.deepcopy(net).eval(), 100
    parts = [part for part in small.modules() if isinstance(part, Attention)]
    pruner = pruning.pruner.BasePruner(
        small,
        data.inputs(torch.arange(2)),
        importance=kinds[kind](),
        global_pruning=scope != "uniform",
        isomorphic=scope == "isomorphic",
        pruning_ratio=0.98,
        max_pruning_ratio=0.98,
        iterative_steps=steps,
        ignored_layers=[small.head],
        num_heads={part.qkv: part.heads for part in parts},
        in_channel_groups={},
        out_channel_groups={},
    )
    source = generator(seed, "taylor")
    for step in range(steps):
        if count(small) <= goal:
            break
        if kind == "taylor" and step % 8 == 0:
            small.zero_grad()
            index = torch.randperm(len(data), generator=source)[:512]
            F.cross_entropy(small(data.inputs(index)), data.y[index]).backward()
        pruner.step()
        for part in parts:
            part.heads = pruner.num_heads[part.qkv]
    small.zero_grad(set_to_none=True)
    return small
