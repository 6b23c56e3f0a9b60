"""How a model is used on rows as people have them: columns, pixels, classes, units, noise; kept with it in its file.

Shapes: T targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from netdial.channels.layers.pick import inputs_read
from netdial.core.errors import ConfigError, DataError, warn
from netdial.core.storage.boundary import validated
from netdial.data.dataset import Dataset, Splits
from netdial.data.scale import TargetScale
from netdial.data.tables.schema import TableSchema
from netdial.family.family import Family
from netdial.measure.forward import outputs
from netdial.measure.noise import FEWEST, law_of
from netdial.task import NoiseCurve, Task, named, restore
from netdial.task.noise import LEVELS, half_width

KEY = "use"
"""Key of the plain values beside a model under which its use is kept."""

_FAR = 20.0
"""Standard deviations from the mean at which the middle of a column hardly ever is."""

_LOOKED_AT = 1000
"""Rows of a tensor that are looked at for how it is scaled."""

_DIGITS = 6
"""Digits behind the first of numbers that scale inputs, in ``Use.compact``."""

Positive = Annotated[float, Field(gt=0)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Pixels(_Value):
    """How images uint8 become inputs: (x - shift) · scale, in the shape that the network takes.

    Attributes:
        image: shape of an image without the batch, ``[C, H, W]``.
        inputs: shape of an input without the batch: the same, or flat.
        shift, scale: one number for each channel.
    """

    image: tuple[int, int, int]
    inputs: tuple[int, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not len(self.shift) == len(self.scale) == self.image[0]:
            raise ValueError("shift and scale need one number for each channel")
        if math.prod(self.image) != math.prod(self.inputs):
            raise ValueError("an image and an input differ in size")
        return self

    def check_scaled(self, rows: Tensor) -> None:
        """Refuses floating-point images that are plainly not scaled as the network takes them, such as those from 0 to 1.

        Raises:
            DataError: no number is negative where dark pixels are, or some are far beyond the brightest pixel.
        """
        if not rows.is_floating_point() or not rows.numel():
            return
        pairs = zip(self.shift, self.scale, strict=True)
        ends = [(end - shift) * scale for shift, scale in pairs for end in (0, 255)]
        low, high, least, most = min(ends), max(ends), float(rows.min()), float(rows.max())
        if (least >= 0 > low and most > 0) or most > 2 * max(-low, high):
            raise DataError(
                f"images of {rows.dtype} from {least:g} to {most:g}: the network takes pixels of 0 to 255 as numbers from "
                f"{low:.3g} to {high:.3g}; give them as uint8, as in training, or scaled like these"
            )


class ErrorLaw(_Value):
    """Law of a regression's errors on held-out rows, in the units that the network predicts in; see ``task.noise``.

    Attributes:
        lam: complexity value of the member; None for a network that has none.
        variance: squared scale for each target ``[T]``; the variance if ``tails`` is 0.
        tails: 1/ν of a Student's law with ν degrees of freedom; 0 for the normal law.
        reach: half-widths of intervals in units of the scale, ``[Q, T]``; empty for those of the normal law, as in files of
            earlier versions.
    """

    lam: Positive | None
    variance: tuple[Positive, ...]
    tails: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    reach: tuple[tuple[Positive, ...], ...] = ()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        rows = (len(LEVELS), len(self.variance))
        if self.reach and (len(self.reach), *{len(row) for row in self.reach}) != rows:
            raise ValueError(f"reach needs {rows[0]} rows of {rows[1]} half-widths")
        return self

    def half_width(self, level: float) -> np.ndarray[Any, Any]:
        """Returns half the width of the interval that holds a new target with probability ``level`` ``[T]``."""
        half = half_width(self.reach, level, len(self.variance)).numpy()
        return np.asarray(half * np.sqrt(self.variance))


class Use(_Value):
    """How a model is used.

    Attributes:
        task: what it predicts, as ``Task.settings`` says it.
        classes: names of the classes in the order of the outputs; none for a regression.
        table: how columns are read and what outputs mean, for a table.
        pixels: how images are read, for images.
        lam: member of a family to use unless another is asked for.
        noise: for a regression, laws of the errors along λ, by rising λ.
    """

    task: dict[str, Any]
    classes: tuple[str, ...] = ()
    table: TableSchema | None = None
    pixels: Pixels | None = None
    lam: Positive | None = None
    noise: tuple[ErrorLaw, ...] = ()

    def what(self) -> Task:
        """Returns the task."""
        return restore(self.task)

    def law(self, lam: float | None) -> ErrorLaw | None:
        """Returns the law of the errors at λ: between two known ones as in ``NoiseCurve``."""
        if not self.noise:
            return None
        known = [row for row in self.noise if row.lam is not None]
        if lam is None or len(known) < 2:
            return (known or self.noise)[0]
        rows = tuple(row.variance for row in known)
        reach = tuple(row.reach for row in known)
        curve = NoiseCurve(
            tuple(row.lam or 1.0 for row in known),
            rows,
            rows,
            tuple(row.tails for row in known),
            reach if all(reach) else (),
        )
        found = curve.at(lam)
        return ErrorLaw.model_validate(
            {
                "lam": lam,
                "variance": found["noise_var"],
                "tails": found["tails"],
                "reach": found["reach"],
            }
        )

    def variance(self, lam: float | None) -> np.ndarray[Any, Any] | None:
        """Returns the squared scale of the errors at λ ``[T]``."""
        found = self.law(lam)
        return None if found is None else np.asarray(found.variance)

    def alone(self, lam: float) -> Use:
        """Returns the use of the member at λ by itself."""
        found = self.law(lam)
        noise = () if found is None else (found.model_copy(update={"lam": lam}),)
        return self.model_copy(update={"lam": lam, "noise": noise})

    def reading(self, model: nn.Module) -> Use:
        """Returns the use by a model that may read some of a table's columns only, which new rows then need alone."""
        if self.table is None:
            return self
        read = inputs_read(model.net if isinstance(model, Family) else model)
        return self.model_copy(update={"table": self.table.reading(read)})

    def measured(self, model: nn.Module, part: Dataset) -> Use:
        """Returns the use with the errors of another model in the same place, on held-out rows; of classes it is the same."""
        nets = [
            (row.lam, model.export(row.lam or 1.0) if isinstance(model, Family) else model)
            for row in self.noise
        ]
        return self.model_copy(
            update={"noise": tuple(error_law(lam, net, part) for lam, net in nets)}
        )

    def compact(self) -> dict[str, Any]:
        """Returns what ``to_json`` does without defaults, and numbers that scale inputs with fewer digits."""
        found = self.model_dump(mode="json", exclude_defaults=True)
        if self.table is not None:
            rows = found["table"]["inputs"]
            kinds = [column.kind for column in self.table.inputs]
            found["table"]["inputs"] = [
                {"kind": k, **row} for k, row in zip(kinds, rows, strict=True)
            ]
        return {KEY: _rounded(found)}

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, under the key by which ``read_use`` finds them."""
        return {KEY: self.model_dump(mode="json")}


def tell_unscaled(table: TableSchema, x: Tensor) -> None:
    """Warns of inputs ``[B, D]`` given as tensors that look like the cells of a table and not like what the network takes."""
    names = table.names
    if x.ndim != 2 or x.shape[1] != len(names) or not len(x):
        return
    middle = dict(zip(names, x[:_LOOKED_AT].double().median(dim=0).values.tolist(), strict=True))
    numbers = [column for column in table.inputs if column.kind == "number"]
    off = [c for c in numbers if not abs(middle[c.column] - c.mean) < _FAR * c.std]
    raw = [c for c in numbers if abs(middle[c.column]) > _FAR]
    if raw and not off:
        one = raw[0]
        warn(
            f"tensors are taken as the network takes them, and {one.column!r} has values about {middle[one.column]:.4g}, as in "
            f"the table, where it has mean {one.mean:.4g} and standard deviation {one.std:.4g}; give a data frame, whose "
            "columns are read and scaled as in training"
        )


def use_of(
    data: Splits,
    model: nn.Module | None = None,
    *,
    lam: float | None = None,
    lams: Sequence[float] = (),
) -> Use:
    """Returns how a model that was trained on data is used.

    Args:
        data: what it was trained on; the errors of a regression are those on the validation part, if it has eight rows or more.
        model: a family, or a network; None leaves the errors out.
        lam: member of the family to use by default.
        lams: complexity values at which errors are measured; by default nine over the family's range.

    Raises:
        ConfigError: the family was trained on targets that were standardised otherwise.
    """
    task = model.task if isinstance(model, Family) and model.task is not None else named(data.kind)
    _check_units(getattr(task, "scale", None), data)
    task = task.in_units(data.train.target)
    if task.targets == "class maps" and model is not None and not isinstance(model, Family):
        few = data.valid.select(torch.arange(min(2, len(data.valid))))
        task = task.seen(outputs(model, few), few.y)
    noise: tuple[ErrorLaw, ...] = ()
    if task.targets == "numbers" and model is not None and len(data.valid) >= FEWEST:
        members: list[tuple[float | None, nn.Module]] = [(lam, model)]
        if isinstance(model, Family):
            members = [(at, model.export(at)) for at in sorted(set(lams) or model.lams(9))]
        noise = tuple(error_law(at, net, data.valid) for at, net in members)
    said = data.source.get("pixels")
    pixels = said and {**said, "inputs": list(data.input_shape)}
    return Use(
        task=task.settings(),
        classes=data.classes,
        table=data.schema,
        pixels=None if pixels is None else validated(Pixels, pixels, data.name),
        lam=lam,
        noise=noise,
    )


def _check_units(trained: TargetScale | None, data: Splits) -> None:
    """Refuses data whose targets have other units than those that a family was trained on, as another split of a table has."""
    here = data.train.target
    if trained is None or here is None or trained.is_same_as(here):
        return
    pairs = zip((*trained.mean, *trained.std), (*here.mean, *here.std), strict=False)
    if len(trained.std) == len(here.std) and all(math.isclose(*pair) for pair in pairs):
        return
    was, now = (
        ", ".join(f"{m:.6g} ± {s:.6g}" for m, s in zip(scale.mean, scale.std, strict=True))
        for scale in (trained, here)
    )
    raise ConfigError(
        f"{data.name}: its targets were standardised by other means and standard deviations ({now}) than those that the family "
        f"was trained on ({was}), and so were its inputs; give the data of training, of the same split"
    )


def read_use(path: Path, about: Mapping[str, Any]) -> Use | None:
    """Returns how a model is used, from the plain values in its file; None if they do not say.

    Raises:
        CheckpointError: they are damaged.
    """
    if about.get(KEY) is None:
        return None
    found: Use = validated(Use, about[KEY], f"{path}: how the model is used")
    return found


def is_read_alike(one: TableSchema, other: TableSchema) -> bool:
    """Returns whether two tables are read alike, to the digits that ``Use.compact`` keeps."""
    # twice: a standard deviation that rounds up to a power of ten leaves its mean a digit less
    plain = [_rounded(_rounded(table.model_dump(mode="json"))) for table in (one, other)]
    return bool(plain[0] == plain[1])


def error_law(lam: float | None, net: nn.Module, part: Dataset) -> ErrorLaw:
    """Returns the law of the errors that a network makes on held-out rows; intervals of predictions are as wide as it says."""
    targets = part.y.cpu().double()
    found = law_of(outputs(net, part).double() - targets, targets)
    return ErrorLaw(lam=lam, variance=found.var, tails=found.tails, reach=found.reach)


def _rounded(value: Any) -> Any:
    """Returns plain values with fewer digits: ``mean`` and ``std`` of inputs and targets, and laws of errors."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _rounded(one) for key, one in value.items()}
    if "mean" in found and "std" in found:
        mean, std = found["mean"], found["std"]
        if isinstance(mean, list):
            found["mean"] = [_to_unit(m, s) for m, s in zip(mean, std, strict=True)]
            found["std"] = [_to_digits(s) for s in std]
        else:
            found |= {"mean": _to_unit(mean, std), "std": _to_digits(std)}
    if "variance" in found:
        found["variance"] = [_to_digits(v) for v in found["variance"]]
        found["reach"] = [[_to_digits(r) for r in row] for row in found.get("reach", [])]
    return found


def _to_unit(mean: float, std: float) -> float:
    return round(mean, _DIGITS - math.floor(math.log10(std)))


def _to_digits(number: float) -> float:
    return float(f"{number:.{_DIGITS + 1}g}")
