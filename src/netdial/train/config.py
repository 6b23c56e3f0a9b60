"""Settings of a training run: one frozen value, checked when made, stored with the run.

The command line's flags and the estimators' arguments are these fields; unknown ones are refused with the nearest name.
Torch is imported only when settings are made, so that help texts can be shown without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from netdial.core.arguments import refuse_twice
from netdial.core.errors import ConfigError, refuse_truth, settings_in_words
from netdial.train.class_weights import weights_by_class
from netdial.train.schedules import USUAL_RATE, usual_batch_size, usual_epochs

if TYPE_CHECKING:
    from netdial.family.config import FamilyConfig


Config = TypeVar("Config", bound=BaseModel)

_MOST = 10**18
"""Largest whole number of a setting: beyond, types of fixed size hold none."""
_SMALLEST, _LARGEST = 1e-30, 1e30
"""Bounds of what is multiplied with single-precision numbers, which reach from 1e-38 to 3e38."""


def names_of(place: str) -> dict[str, JsonValue]:
    """Returns what tells help and documents where the names that a setting may have are registered: ``package.module:NAME``."""
    return {"names": place}


class Settings(BaseModel):
    """Frozen settings; what is wrong with one is said in one line when they are made."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _numbers = field_validator("*", mode="before")(refuse_truth)

    @field_validator("*", mode="after")
    @classmethod
    def _held(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > _MOST:
            raise ValueError(f"give at most {_MOST:.0e}")
        return value

    def __init__(self, **settings: Any) -> None:
        with settings_in_words("setting", settings, type(self).model_fields):
            super().__init__(**settings)

    def changed(self, **settings: Any) -> Self:
        """Returns the settings with others in place of some, checked as when they are made."""
        return type(self)(**{**dict(self), **settings})


class TrainConfig(Settings):
    """What all ways of training share. Durations are in epochs, rates per optimiser step."""

    epochs: int | None = Field(
        None,
        ge=1,
        description="passes over the training data; by default some 4000 steps, in 10 to 250 passes",
    )
    batch_size: int | None = Field(
        None, ge=1, description="examples in a batch; by default 32 to 256, more for more rows"
    )
    optimizer: str = Field(
        "Adam",
        description="optimizer of torch.optim",
        json_schema_extra=names_of("netdial.train.optimiser:optimizer_names"),
    )
    lr: float | None = Field(
        None, gt=0, description="peak learning rate; else 0.004, or by rows and columns"
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum, for optimizers that take it")
    schedule: Literal["onecycle", "cosine", "constant"] = Field(
        "onecycle", description="learning-rate schedule"
    )
    clip: float = Field(0.0, ge=0, description="gradient norm to clip at; 0 does not clip")
    precision: Literal["32-true", "bf16-mixed", "64-true"] = Field(
        "32-true", description="arithmetic"
    )
    devices: int = Field(1, ge=1, description="processes or accelerators")
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = Field("auto", description="kind of device")
    strategy: Literal["auto", "ddp"] = Field("auto", description="ddp for several devices")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="seed of everything random")
    class_weight: Literal["balanced"] | dict[str, float] | tuple[float, ...] | None = Field(
        None,
        description="weights of the classes in the objective: balanced (all classes weigh the same), or 0=1,1=24",
    )

    def for_rows(self, n_rows: int, batch_size: int | None = None) -> Self:
        """Returns the settings with epochs and batch size set for so many training examples, where they are not given.

        Args:
            n_rows: training examples.
            batch_size: examples in a batch where something else decides, as a ``DataLoader`` does.
        """
        size = self.batch_size or batch_size or usual_batch_size(n_rows)
        steps = math.ceil(n_rows / min(batch_size or size, n_rows))
        return self.changed(batch_size=size, epochs=self.epochs or usual_epochs(steps))

    @property
    def known_epochs(self) -> int:
        """Epochs, once they are known: given, or set by ``for_rows``."""
        return _known("epochs", self.epochs)

    @property
    def known_batch_size(self) -> int:
        """Batch size, once it is known: given, or set by ``for_rows``."""
        return _known("batch_size", self.batch_size)

    @property
    def known_lr(self) -> float:
        """Peak learning rate: given, or the usual one."""
        return self.lr or USUAL_RATE

    _class_weights = field_validator("class_weight", mode="before")(weights_by_class)


class FitConfig(TrainConfig):
    """Settings of a training run of a family."""

    objective: str = Field(
        "l1",
        description="objective: l1 for a network that predicts, log-sum where most weights are to go, ard or scaled-kl for a "
        "posterior of the weights",
        json_schema_extra=names_of("netdial.objective:OBJECTIVES"),
    )
    map: str = Field(
        "piecewise",
        description="map from lam to the weights",
        json_schema_extra=names_of("netdial.family.maps:MAPS"),
    )
    regions: int = Field(3, ge=1, le=10_000, description="regions of the piecewise map")
    hidden: int = Field(50, ge=1, description="hidden width of the lowrank map")
    joint: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="fraction of the steps in which a piecewise or linear map is one network, trained at the mean lam, before "
        "each member goes its own way; by default 0.7 without a posterior, and 0 for multilayer perceptrons",
    )
    lo: float = Field(
        1e-2,
        gt=0,
        ge=_SMALLEST,
        description="lowest complexity value; 0.001 for objectives with a posterior",
    )
    hi: float = Field(
        10.0,
        gt=0,
        le=_LARGEST,
        description="highest complexity value; 100 for scaled-kl and scaled-prior",
    )
    lams: tuple[float, ...] = Field(
        (), description="complexity values of directly trained networks (table map)"
    )
    prior_var: float = Field(
        1.0, gt=0, ge=_SMALLEST, le=_LARGEST, description="variance of the prior N(0, prior_var)"
    )
    anchor: Literal["zero", "start"] = Field(
        "zero",
        description="centre of the prior: zero, or start, the weights that training starts from, to adapt a trained network",
    )
    noise_var: float | None = Field(
        None,
        gt=0,
        ge=_SMALLEST,
        le=_LARGEST,
        description="noise variance that training of a regression assumes, in units of standardised targets; 1 if not given",
    )
    log_std: float = Field(
        -3.0, ge=-40, le=40, description="starting log standard deviation of the posterior"
    )
    freeze: tuple[str, ...] = Field(
        (),
        description="parameters that are not trained: names with wildcards, layers, or classes of layers",
    )
    shared: tuple[str, ...] = Field(
        (), description="parameters that are trained, and the same for every lam"
    )
    posterior: dict[str, str] = Field(
        {},
        description="posteriors of some parameters by pattern, as gate=NAME; the others have that of the objective",
        json_schema_extra=names_of("netdial.family.posteriors:POSTERIORS"),
    )
    groups: int = Field(8, ge=1, description="complexity values in a batch")
    sampling: Literal["stratified", "whole", "independent"] = Field(
        "stratified",
        description="stratified: one value from each stratum, the batch is split among them; whole: the same values, "
        "each sees the whole batch; independent: the same, values drawn independently",
    )
    ends: bool = Field(
        True,
        description="give two of the groups (if there are four or more) to the ends of the range, lo and hi",
    )
    knots: float = Field(
        0.0,
        ge=0,
        le=1,
        description="fraction of the other groups whose lam is moved to the nearest knot of the piecewise map",
    )
    weighting: str = Field(
        "balanced",
        description="weight w(lam) across the family",
        json_schema_extra=names_of("netdial.objective:WEIGHTINGS"),
    )
    std_rate: float = Field(3.0, gt=0, description="learning rate of log_std relative to lr")
    compiled: bool = Field(
        False,
        description="run the step of a multilayer perceptron as one compiled operation, which a C++ compiler builds here once; "
        "the same but for rounding",
    )
    warmup: float = Field(
        0.0, ge=0, description="epochs over which the complexity term grows from 0 to 1"
    )
    patience: int = Field(
        0,
        ge=0,
        description="epochs without a better validation objective before stopping at the best one; 0 never, which is better: "
        "stopping halves the time and costs 5 to 10 % of loss where it was measured",
    )

    @model_validator(mode="before")
    @classmethod
    def _range_of_objective(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Returns the settings with the range of their objective where none is given, wide enough for ``lams``."""
        objective = given.get("objective", cls.model_fields["objective"].default)
        if not isinstance(objective, str):
            return given
        from netdial.objective import OBJECTIVES

        lams, (lo, hi) = given.get("lams", ()), OBJECTIVES[objective].range
        if isinstance(lams, Iterable) and not isinstance(lams, str | Mapping):
            given = {**given, "lams": (lams := tuple(lams))}
        try:
            trained = [x for x in map(float, lams) if 0 < x < math.inf]
        except (TypeError, ValueError, OverflowError):
            trained = []  # what is wrong with them is said by their own check
        return {"lo": min([lo, *trained]), "hi": max([hi, *trained]), **given}

    @field_validator("posterior", mode="before")
    @classmethod
    def _by_pattern(cls, given: Any) -> Any:
        """Returns names of posteriors by pattern; given as a mapping, or as ``gate=NAME,…``."""
        if not isinstance(given, str):
            return given
        pieces = [piece.partition("=") for piece in given.split(",")]
        if not all(pattern.strip() and name.strip() for pattern, _, name in pieces):
            raise ConfigError(
                f"posterior={given!r}: expected a posterior for each pattern of parameters, such as bias=point; that of all "
                "others follows from the objective"
            )
        refuse_twice("posterior", [pattern for pattern, _, _ in pieces])
        return {pattern.strip(): name.strip() for pattern, _, name in pieces}

    @model_validator(mode="after")
    def _agree(self) -> FitConfig:
        from netdial.family.domain import Domain
        from netdial.family.groups import DEFAULT
        from netdial.family.maps import MAPS
        from netdial.family.posteriors import POSTERIORS
        from netdial.objective import OBJECTIVES, WEIGHTINGS

        MAPS[self.map], OBJECTIVES[self.objective], WEIGHTINGS[self.weighting]
        Domain(self.lo, self.hi)
        for name in self.posterior.values():
            POSTERIORS[name]
        if DEFAULT in self.posterior:
            raise ConfigError(
                f"posterior: the pattern {DEFAULT!r} is all parameters, whose posterior follows from the objective; name some"
            )
        if self.posterior and not OBJECTIVES[self.objective].reaches_groups:
            raise ConfigError(
                f"posterior={self.posterior}: {OBJECTIVES[self.objective].unreached(self.objective)}"
            )
        if self.map == "table" and not self.lams:
            raise ConfigError(
                "map table trains networks directly at given values: give lams, for example 0.01,1,100"
            )
        if self.lams and self.map != "table":
            raise ConfigError(
                f"lams are the values of directly trained networks (map table), and map {self.map} is trained on a whole "
                "range: give its ends, lam=(lo, hi) (--lo, --hi), and values to evaluate at afterwards"
            )
        if self.devices > 1 and self.groups % self.devices and self.map != "table":
            raise ConfigError(
                f"groups={self.groups} does not divide among devices={self.devices}; choose a multiple of {self.devices}"
            )
        return self

    def family(self) -> FamilyConfig:
        """Returns the part that describes the family."""
        from netdial.family.config import FamilyConfig
        from netdial.family.groups import DEFAULT
        from netdial.objective import OBJECTIVES

        weights = OBJECTIVES[self.objective].posterior
        alike = [f.name for f in fields(FamilyConfig) if f.name in type(self).model_fields]
        settings: dict[str, Any] = {name: getattr(self, name) for name in alike}
        settings["posterior"] = {DEFAULT: weights, **self.posterior} if self.posterior else weights
        return FamilyConfig(**settings)


class Evaluation(Settings):
    """How the members of a trained family are evaluated; what is not given depends on the size of the data."""

    samples: int | None = Field(None, ge=0, description="posterior draws at the end; 0 for none")
    points: int | None = Field(None, ge=1, description="complexity values of the final curves")


def _known(name: str, value: int | None) -> int:
    if value is None:
        raise RuntimeError(f"{name} is not known yet; call for_rows first")
    return value


def make_config(**settings: Any) -> FitConfig:
    """Returns the settings of a family's training; see ``make``."""
    return make(FitConfig, settings)


def make(kind: type[Config], settings: Mapping[str, Any]) -> Config:
    """Returns settings, or one clear error for what is wrong with them.

    Args:
        kind: class of the settings.
        settings: values by name; the others have their defaults.

    Raises:
        ConfigError: an unknown setting (the nearest name is offered), or a value outside its range.
    """
    with settings_in_words("setting", settings, kind.model_fields):
        return kind(**settings)
