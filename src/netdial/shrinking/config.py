"""Settings of a shrinking run: one frozen value; the command line's flags are its fields. Loads no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from netdial.core.errors import ConfigError
from netdial.train.config import TrainConfig, names_of

_FEW, _MOST, _LITTLE = 300.0, 0.3, 1e-4
"""λ₂ × examples and the largest λ₂ for optimisers that divide gradients by their size, and λ₂ for others.

Few examples are learned by heart before the network has become small; between 150 and 54,000 of them the loss was lowest at
200 to 1,000 over their number, and hardly worse at 300 (docs/experiments.md). The steps of such an optimiser hold a weight
within 1 / (2 λ₂), which a narrow network that has little noise to learn may need to leave: hence a largest one.
"""


class ShrinkConfig(TrainConfig):
    """Settings of a shrinking run."""

    lr: float = Field(5e-3, gt=0, description="peak learning rate")
    lam: float = Field(
        0.03, ge=0, description="weight of the penalty on the switches (loss per unit of theta)"
    )
    size: str = Field(
        "",
        description="size to arrive at, for example '50k params', '2M macs', '80 KB', '0.4 ms'; takes the place of lam",
    )
    deadline: float = Field(
        0.5, gt=0, le=1, description="fraction of training after which the size is reached"
    )
    wait: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="fraction of the time before the deadline in which nothing is removed: what a channel is worth shows "
        "only once the network has learned something",
    )
    lam_schedule: Literal["constant", "warmup", "cosine"] = Field(
        "cosine",
        description="course of lam, without a target; cosine ends at 0, so that what is left recovers",
    )
    penalty: Literal["proximal", "subgradient"] = Field(
        "proximal",
        description="proximal: soft threshold, exact zeros, one meaning of lam for every optimizer; subgradient: the draft's",
    )
    switch_rate: float = Field(
        0.0,
        ge=0,
        description="step of the switches (proximal); 0 is 0.1, and for a lam no more than 70 over the steps of training, so "
        "that it means the same however long the training is; subgradient uses the optimizer's",
    )
    weigh: Literal["channel", "params", "macs"] = Field(
        "channel",
        description="what a channel's penalty is in proportion to: nothing, its parameters, its macs",
    )
    freeze: tuple[str, ...] = Field(
        (),
        description="parameters that are not trained: names with wildcards, layers, or classes of layers",
    )
    lam2: float | None = Field(
        None,
        ge=0,
        description="weight of the penalty on the weights; by default 300 over the training examples, 0.3 at most, for "
        "Adam and its kin, and 1e-4 for other optimizers or power 1",
    )
    power: Literal[1, 2] = Field(2, description="power p of the penalty on the weights")
    kill: str = Field(
        "",
        description="rule that decides when a channel is removed, if not zero (proximal) or sign-change (subgradient)",
        json_schema_extra=names_of("netdial.shrinking.killing:KILLING"),
    )
    start: Literal["auto", "unit", "sampled"] = Field(
        "auto",
        description="switches at the start: unit is 1, sampled N(0, 1); auto is unit for a size and sampled for a lam",
    )
    inputs: bool = Field(
        False,
        description="remove inputs of linear layers, too: the network then selects those that are left",
    )
    streams: bool = Field(False, description="switches on residual streams, too")
    collect_every: int = Field(
        0,
        ge=0,
        description="optimizer steps between collections; 0 for one an epoch, with a size ten or more in all",
    )
    minimum: int = Field(1, ge=1, description="channels that every group keeps")
    restore_best: bool = Field(
        True,
        description="end with the weights of the epoch that has the lowest validation loss of those since a channel last went, "
        "not with those of the last epoch",
    )
    lenient: bool = Field(
        False,
        description="keep channels whole that an unknown operation touches or whose count is written in code, in place of "
        "refusing the network",
    )

    @field_validator("size", mode="before")
    @classmethod
    def _with_unit(cls, size: object) -> object:
        from netdial.core.size import in_words

        return in_words(size)

    @model_validator(mode="after")
    def _agree(self) -> ShrinkConfig:
        from netdial.core.size import parse_target
        from netdial.shrinking.killing import KILLING

        KILLING[self.rule]
        if self.size:
            parse_target(self.size)
            if self.penalty == "subgradient" or self.kill:
                raise ConfigError(
                    "size: channels fade by proximal steps and die by their worth; leave out penalty and kill"
                )
        if self.kill == "zero" and self.penalty == "subgradient":
            raise ConfigError(
                "kill zero with penalty subgradient: a gradient never makes a switch exactly 0; "
                "choose kill sign-change, or penalty proximal"
            )
        return self

    def for_rows(self, n_rows: int, batch_size: int | None = None) -> Self:
        """Returns the settings with lengths and ``lam2`` set for so many training examples, where they are not given.

        Args:
            n_rows: training examples.
            batch_size: as of ``TrainConfig.for_rows``.
        """
        config = super().for_rows(n_rows, batch_size)
        if config.lam2 is not None:
            return config
        steady = self.power == 2 and "adam" in self.optimizer.lower()
        most = min(_MOST, 0.1 / self.known_lr)  # a step keeps four fifths of a weight at least
        return config.changed(lam2=min(_FEW / n_rows, most) if steady else _LITTLE)

    @property
    def known_lam2(self) -> float:
        """Weight of the penalty on the weights: given, set by ``for_rows``, or what it is where nothing is known."""
        return _LITTLE if self.lam2 is None else self.lam2

    @property
    def rule(self) -> str:
        """Name of the killing rule."""
        return self.kill or ("zero" if self.penalty == "proximal" else "sign-change")

    @property
    def begin(self) -> Literal["unit", "sampled"]:
        """How switches start."""
        if self.start == "auto":
            return "unit" if self.size else "sampled"
        return self.start
