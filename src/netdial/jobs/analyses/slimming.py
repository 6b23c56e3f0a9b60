"""Settings of slimming a member of a run: which member, how much of it goes, and the training afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from netdial.core.arguments import checked_fields
from netdial.core.errors import ConfigError
from netdial.core.size import Target
from netdial.pruning.channels.prune import goals_of
from netdial.pruning.channels.retrain import RATE


@checked_fields
@dataclass(frozen=True)
class Slimming:
    """Settings: which member, how many channels to remove, and the training afterwards.

    Raises:
        ConfigError: a share and a size, either out of range, several sizes without training, or a rate without it.
    """

    lam: Annotated[
        float | None,
        Field(description="complexity value; else that of the best member on validation data"),
    ] = None
    share: Annotated[
        float | None,
        Field(description="share of the channels to remove, in (0, 1); else 0.5, or by --size"),
    ] = None
    size: Annotated[
        str | None,
        Field(
            description="size to arrive at: '20k params', '1M macs', '80 KB', '0.4 ms'; or several, '20k params, 5k params': a "
            "network of each, made and trained from the one before"
        ),
    ] = None
    by_time: Annotated[bool, Field(description="round widths by measured time")] = False
    rounds: Annotated[
        int | None, Field(ge=1, description="times to prune and train; else once")
    ] = None
    epochs: Annotated[
        int | None,
        Field(
            ge=1,
            description="passes over the data in every round; else none, or 1 with --rounds",
        ),
    ] = None
    lr: Annotated[
        float | None,
        Field(gt=0, description=f"peak learning rate of that training; else {RATE:g}"),
    ] = None

    def __post_init__(self) -> None:
        """Refuses options that exclude each other."""
        if self.lr is not None and not self.trains:
            raise ConfigError("--lr is about training after pruning; add --epochs, or leave it out")
        if len(self.goals) > 1 and not self.trains:
            raise ConfigError(
                f"--size {self.size}: a network of each size is trained before the next one is made of it; add --epochs"
            )

    @property
    def trains(self) -> bool:
        """Whether the network is trained after it was pruned."""
        return self.rounds is not None or self.epochs is not None

    @property
    def goals(self) -> tuple[float | Target, ...]:
        """The share, or the size or sizes, the largest first."""
        nothing = self.share is None and self.size is None
        sizes = None if self.size is None else self.size.split(",")
        return goals_of(0.5 if nothing else self.share, sizes)

    @property
    def training(self) -> dict[str, Any] | None:
        """Settings of the training after each round; None does not train."""
        if not self.trains:
            return None
        return {"epochs": self.epochs or 1, "lr": RATE if self.lr is None else self.lr}
