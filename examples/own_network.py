"""A family around a network of your own: attention over the thirteen measurements of a wine.

Nothing in the network knows of netdial. The last layer is kept the same for every λ (``shared``), and one member is
trained further at its own λ, then saved as an ordinary module.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import netdial as nd


class Attentive(nn.Module):
    """Measurements ``[B, 13]`` as tokens, one round of self-attention, class logits ``[B, 3]``."""

    def __init__(self, tokens: int = 13, width: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(tokens, width) * 0.1)
        self.lift = nn.Linear(1, width)
        self.attend = nn.MultiheadAttention(width, num_heads=4, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits."""
        tokens = self.lift(x[..., None]) + self.place
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        out: Tensor = self.head(self.norm(tokens + mixed).mean(dim=1))
        return out


def main(epochs: int = 20) -> None:
    """Trains, fine-tunes one member, exports it."""
    torch.manual_seed(0)
    task = nd.load_data("wine")
    family = nd.fit(
        Attentive(),
        task.train,
        map="linear",
        lam=(1e-3, 10.0),
        shared=("head.*",),
        epochs=epochs,
        batch_size=32,
        groups=4,
    )
    for row in nd.evaluate(family, task.valid, lams=5).table():
        print(f"lam {row['lam']:8.3g}   accuracy {row['accuracy']:.3f}   norm {row['norm']:7.1f}")

    member = nd.finetune(family, 0.1, task.train, epochs=2, batch_size=32)
    net = member.export(0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wine.pt"
        torch.save(net.state_dict(), path)
        print(f"{type(net).__name__}: an ordinary module, {path.stat().st_size:,} bytes on disk")


if __name__ == "__main__":
    main()
