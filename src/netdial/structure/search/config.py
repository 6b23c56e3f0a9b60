"""Settings of a search over structures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from netdial.core.arguments import refuse_twice
from netdial.core.errors import ConfigError
from netdial.core.size import in_words, parse_target
from netdial.train.config import TrainConfig, names_of

Plain = str | int | float | bool

_SINGLE = (
    "times are measured of networks in single precision; leave precision out, or limit another size"
)


class SearchConfig(TrainConfig):
    """Settings of a search; those of training hold for the supernet and for every network that is trained."""

    epochs: int | None = Field(
        None,
        ge=1,
        description="passes of a search by gradient over the training data; by default some 4000 steps, in 10 to 250 passes",
    )
    network_epochs: int | None = Field(
        None,
        ge=1,
        description="passes over the training data that one network is trained for; by default as many as epochs",
    )
    strategy: str = Field(  # type: ignore[assignment]
        "darts",
        description="strategy of the search",
        json_schema_extra=names_of("netdial.structure.search:SEARCHES"),
    )
    options: dict[str, Plain] = Field(
        {}, description="options of the strategy, as trials=20 or structure_lr=0.01"
    )
    size: str | None = Field(
        None,
        description="largest size of the network that is found: '20k params', '1M macs', '80 KB'",
    )
    penalty: str | None = Field(
        None,
        description="what size adds to the loss of a search by gradient: '0.1 params' (or macs, vertices, edges, ms), "
        "times the share of the largest size; or '0.2 log^0.6 us', FBNet's product with a logarithm of the latency",
    )
    limit_term: Literal["hinge", "constrained"] = Field(
        "hinge",
        description="how a limit of size leads a search by gradient: hinge adds what the expected size is above it; "
        "constrained adds a multiplier times the distance, which grows while the expected size is above it",
    )
    candidates: int = Field(
        6,
        ge=1,
        description="structures that are compared in the end: the likeliest of a search by gradient, the best of one by trials",
    )
    starts: int = Field(
        3,
        ge=1,
        description="trainings of the best of them, each from another start, the better half going on each time; the least "
        "mean validation loss decides",
    )
    max_skips: int | None = Field(
        None,
        ge=0,
        description="identities that a search by gradient may end with; by default a third of the edges that can be one, "
        "and what the usual structure of the space has",
    )
    curvature: bool = Field(
        False,
        description="watch the curvature of the structure's loss, and take the structure before it rises",
    )
    compare: bool = Field(
        True,
        description="train random structures at equal cost, and say whether the search did better",
    )

    _with_unit = field_validator("size", mode="before")(in_words)

    @field_validator("options", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        """Returns options by name; given as a mapping, or as ``trials=20,…``."""
        return _named("options", given)

    @model_validator(mode="after")
    def _agree(self) -> SearchConfig:
        from netdial.structure.penalty import parse_penalty
        from netdial.structure.search import SEARCHES, GradientStrategy

        SEARCHES[self.strategy]
        if self.size is not None:
            parse_target(self.size)
        if self.penalty is not None:
            parse_penalty(self.penalty)
            if not issubclass(SEARCHES[self.strategy], GradientStrategy):
                raise ConfigError(
                    f"penalty={self.penalty!r}: {self.strategy} trains structures by themselves and has no loss to add it to; "
                    "choose one by gradient, or give size"
                )
        for name in self.options:
            if name in type(self).model_fields and name not in SEARCHES[self.strategy].model_fields:
                raise ConfigError(
                    f"{name}: is a setting of every search, no option of strategy {self.strategy}: give {name}= "
                    f"(--{name.replace('_', '-')} {self.options[name]})"
                )
        if self.limit_term != "hinge" and not issubclass(SEARCHES[self.strategy], GradientStrategy):
            raise ConfigError(
                f"limit_term={self.limit_term!r}: {self.strategy} trains structures by themselves and has no loss to "
                "add it to; choose one by gradient"
            )
        if self.limit_term != "hinge" and not self.limited:
            raise ConfigError(
                f"limit_term={self.limit_term!r}: there is no limit; give a largest size, too"
            )
        if self.devices > 1 or self.precision == "bf16-mixed":
            raise ConfigError(
                f"devices={self.devices}, precision={self.precision}: a search runs on one device, in 32-true or 64-true"
            )
        if self.precision == "64-true" and self.size and parse_target(self.size).kind == "ms":
            raise ConfigError(f"size={self.size!r}, precision=64-true: {_SINGLE}")
        return self

    @property
    def limited(self) -> bool:
        """Whether there is a limit of size."""
        return self.size is not None

    @property
    def passes(self) -> int:
        """Passes over the training data that one network is trained for."""
        return self.network_epochs or self.known_epochs

    def training(self, epochs: int) -> TrainConfig:
        """Returns the settings of the training of one network."""
        shared = {n: v for n, v in self if n in TrainConfig.model_fields and n != "strategy"}
        return TrainConfig(**{**shared, "epochs": epochs})


class SpaceSearchConfig(SearchConfig):
    """Settings of a search in a ready space, as a run holds them."""

    space: str = Field(
        "mlp",
        description="search space",
        json_schema_extra=names_of("netdial.structure.spaces:SPACES"),
    )
    space_options: dict[str, Plain | list[Plain]] = Field(
        {}, description="options of the space, as depth=2,widths=16+64"
    )
    max_latency_ms: float | None = Field(
        None, gt=0, description="most milliseconds for one example, measured on this machine"
    )
    latency_table: str | None = Field(
        None,
        description="file that netdial latency wrote here, for a limit or penalty of latency; else it is measured",
    )

    @field_validator("space_options", mode="before")
    @classmethod
    def _space_by_name(cls, given: Any) -> Any:
        """Returns options by name; given as a mapping, or as ``depth=2,widths=16+64``."""
        return _named("space_options", given)

    @property
    def limited(self) -> bool:
        """Whether there is a limit of size or of latency."""
        return super().limited or self.max_latency_ms is not None

    @model_validator(mode="after")
    def _one_limit(self) -> SpaceSearchConfig:
        from netdial.structure.penalty import parse_penalty
        from netdial.structure.spaces import SPACES

        SPACES[self.space]
        if self.size is not None and parse_target(self.size).kind == "ms":
            raise ConfigError(
                f"size={self.size!r}: give milliseconds as max_latency_ms (--max-latency-ms)"
            )
        priced = self.penalty is not None and parse_penalty(self.penalty).kind == "ms"
        priced |= self.options.get("cost") == "ms"
        if self.latency_table is not None and self.max_latency_ms is None and not priced:
            raise ConfigError(
                "latency_table: is for a limit or a penalty of latency; give max_latency_ms, or a penalty in ms, too"
            )
        if self.size is not None and self.max_latency_ms is not None:
            raise ConfigError(
                f"size={self.size!r} and max_latency_ms={self.max_latency_ms:g} are two limits; give one of them"
            )
        if self.precision == "64-true" and self.max_latency_ms is not None:
            raise ConfigError(
                f"max_latency_ms={self.max_latency_ms:g}, precision=64-true: {_SINGLE}"
            )
        return self


def _named(what: str, given: Any) -> dict[str, Any]:
    """Returns options by name; given as a mapping, or as text ``name=value,…`` with lists joined by ``+``."""
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    pieces = [piece.partition("=") for piece in str(given).split(",") if piece.strip()]
    if not all(name.strip() and value.strip() for name, _, value in pieces):
        raise ConfigError(f"{what}={given!r}: expected name=value, several joined by commas")
    refuse_twice(what, [name for name, _, _ in pieces])
    found: dict[str, Any] = {}
    for name, _, value in pieces:
        parts = [_plain(part.strip()) for part in value.split("+")]
        found[name.strip()] = parts if len(parts) > 1 else parts[0]
    return found


def _plain(text: str) -> Plain:
    """Returns a value as a number or truth value where it reads as one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
