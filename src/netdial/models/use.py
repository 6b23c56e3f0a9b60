"""How a model is used on rows as people have them: columns, pixels, classes, units, noise; kept with it in its file.

Shapes: T targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from netdial.core.boundary import validated
from netdial.data.dataset import Dataset, Splits
from netdial.data.tables.schema import TableSchema
from netdial.family.family import Family
from netdial.measure.path import outputs
from netdial.task import Task, named, restore

KEY = "use"
"""Key of the plain values beside a model under which its use is kept."""

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


class Noise(_Value):
    """Variance of a regression's errors on held-out rows, in the units that the network predicts in.

    Attributes:
        lam: complexity value of the member; None for a network that has none.
        variance: for each target ``[T]``.
    """

    lam: Positive | None
    variance: tuple[Positive, ...]


class Use(_Value):
    """How a model is used.

    Attributes:
        task: what it predicts, as ``Task.settings`` says it.
        classes: names of the classes in the order of the outputs; none for a regression.
        table: how columns are read and what outputs mean, for a table.
        pixels: how images are read, for images.
        lam: member of a family to use unless another is asked for.
        noise: for a regression, variance of the errors along λ, by rising λ.
    """

    task: dict[str, Any]
    classes: tuple[str, ...] = ()
    table: TableSchema | None = None
    pixels: Pixels | None = None
    lam: Positive | None = None
    noise: tuple[Noise, ...] = ()

    def what(self) -> Task:
        """Returns the task."""
        return restore(self.task)

    def variance(self, lam: float | None) -> np.ndarray[Any, Any] | None:
        """Returns the variance of the errors at λ ``[T]``: between two known values linear in log λ and in its own log."""
        if not self.noise:
            return None
        known = [row for row in self.noise if row.lam is not None]
        values = np.log([row.variance for row in known or self.noise])
        if lam is None or len(known) < 2:
            return np.asarray(np.exp(values[0]))
        at = [math.log(row.lam or 1.0) for row in known]
        logs = [np.interp(math.log(lam), at, column) for column in values.T]
        return np.asarray(np.exp(logs))

    def alone(self, lam: float) -> Use:
        """Returns the use of the member at λ by itself."""
        variance = self.variance(lam)
        noise = () if variance is None else (Noise(lam=lam, variance=tuple(variance.tolist())),)
        return self.model_copy(update={"lam": lam, "noise": noise})

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, under the key by which ``read_use`` finds them."""
        return {KEY: self.model_dump(mode="json")}


def use_of(
    data: Splits,
    model: nn.Module | None = None,
    *,
    lam: float | None = None,
    lams: Sequence[float] = (),
) -> Use:
    """Returns how a model that was trained on data is used.

    Args:
        data: what it was trained on; the errors of a regression are those on the validation part.
        model: a family, or a network; None leaves the errors out.
        lam: member of the family to use by default.
        lams: complexity values at which errors are measured; by default nine over the family's range.
    """
    task = model.task if isinstance(model, Family) and model.task is not None else named(data.kind)
    noise: tuple[Noise, ...] = ()
    if task.targets == "numbers" and model is not None:
        members: list[tuple[float | None, nn.Module]] = [(lam, model)]
        if isinstance(model, Family):
            members = [(at, model.export(at)) for at in sorted(set(lams) or model.lams(9))]
        noise = tuple(Noise(lam=at, variance=_errors(net, data.valid)) for at, net in members)
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


def read_use(path: Path, about: Mapping[str, Any]) -> Use | None:
    """Returns how a model is used, from the plain values in its file; None if they do not say.

    Raises:
        CheckpointError: they are damaged.
    """
    if about.get(KEY) is None:
        return None
    found: Use = validated(Use, about[KEY], f"{path}: how the model is used")
    return found


def _errors(net: nn.Module, part: Dataset) -> tuple[float, ...]:
    """Returns the mean squared error of each target ``[T]``, above 0."""
    error = (outputs(net, part).double() - part.y.cpu().double()).square().mean(0)
    return tuple(error.clamp_min(1e-12).tolist())
