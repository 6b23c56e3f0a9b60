"""What a loader hands to the rest of netdial: three parts of data and where they came from.

A ``Dataset`` is one part, ready for a network; ``Splits`` hold the train, validation and test
parts, what is to be predicted, and its provenance. Both are values: nothing in them changes after
loading, nothing in them knows of λ.

Shape legend: N examples, T regression targets, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from netdial.core.arguments import checked_fields
from netdial.core.errors import DataError
from netdial.core.inputs import Packing
from netdial.data.scale import TargetScale

if TYPE_CHECKING:
    from netdial.data.tables.schema import TableSchema

Kind = Literal["classification", "regression"]
DENSE = {"classification": "dense-classification", "regression": "dense-regression"}
"""Kind of the targets at many places of an example, by that of one."""
PARTS = ("train", "valid", "test")


@checked_fields
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs and targets of one part of the data, as tensors.

    Args:
        x: Inputs [N, ...]: float32, or uint8 images [N, C, H, W] (or [N, C*H*W] when flat) that are
            normalised only when they are used. A user's own data may also hold int64 tokens, which
            pass unchanged.
        y: Targets: [N] int64 class indices, or [N, T] float32; with places, [N, ...] of either.
        shift: For uint8 inputs, what is subtracted; broadcasts against one example ([C, 1, 1] for
            images).
        scale: For uint8 inputs, what multiplies the difference; the same shape as ``shift``.
        weight: Weights of the examples [N], 0 or more, in floating point: how much each counts in
            the objective compared with the others. They are divided by their mean, so N stays the
            number of examples.
        target: Units of standardised regression targets; None if ``y`` is in its own units.
        packing: How several inputs lie in ``x``, or what one is called; None for one without a name.

    Raises:
        DataError: if ``x`` and ``y`` differ in length, there is not one weight per example, or
            uint8 inputs come without ``shift`` and ``scale``.
    """

    x: Tensor
    y: Tensor
    shift: Tensor | None = None
    scale: Tensor | None = None
    weight: Tensor | None = None
    target: TargetScale | None = None
    packing: Packing | None = None

    def __post_init__(self) -> None:
        """Refuses parts that no network could be fed with."""
        if self.x.ndim < 2 or self.y.ndim < 1:
            raise DataError(
                "a part of the data needs inputs [N, ...] and targets [N] or [N, T]; got inputs"
                f" {list(self.x.shape)} and targets {list(self.y.shape)}"
            )
        if len(self.x) != len(self.y):
            raise DataError(
                f"inputs and targets differ in length: {len(self.x)} against {len(self.y)}; give"
                " one target per row"
            )
        if self.weight is not None and self.weight.shape != (len(self.x),):
            raise DataError(
                f"weights of shape {list(self.weight.shape)} for {len(self.x)} examples; give one"
                " weight per example [N]"
            )
        if (self.shift is None) != (self.scale is None):
            raise DataError("shift and scale belong together; give both or neither")
        if self.x.dtype == torch.uint8 and self.shift is None:
            raise DataError(
                "uint8 inputs need shift and scale, used as (x - shift) * scale; give"
                " nd.Dataset(x, y, shift=torch.tensor(127.5), scale=torch.tensor(1 / 127.5)), or"
                " numbers as the network takes them, x.float() / 255"
            )

    def __repr__(self) -> str:
        """Returns how many examples there are, and of what shape."""
        return f"Dataset({len(self)} examples: x {_form(self.x)}, y {_form(self.y)})"

    def __len__(self) -> int:
        """Returns the number of examples N."""
        return len(self.x)

    def select(self, index: Tensor) -> Dataset:
        """Returns the examples at ``index`` (int64 [M] or bool [N]) as a part of its own."""
        weight = None if self.weight is None else self.weight[index]
        return replace(self, x=self.x[index], y=self.y[index], weight=weight)

    def to(self, device: torch.device | str) -> Dataset:
        """Returns the part with its tensors on ``device``."""
        return replace(
            self,
            x=self.x.to(device),
            y=self.y.to(device),
            shift=None if self.shift is None else self.shift.to(device),
            scale=None if self.scale is None else self.scale.to(device),
            weight=None if self.weight is None else self.weight.to(device),
        )

    def in_units(self, scale: TargetScale | None) -> Dataset:
        """Returns the part with its targets standardised by ``scale``; itself where its own units are these, or not known.

        >>> own, wanted = (TargetScale(("t",), (0.0,), (std,)) for std in (2.0, 4.0))
        >>> part = Dataset(torch.zeros(1, 1), torch.tensor([[3.0]]), target=own)
        >>> part.in_units(wanted).y
        tensor([[1.5000]])
        """
        own = self.target
        if scale is None or own is None or len(own.std) != len(scale.std) or own.is_same_as(scale):
            return self
        y = scale.standardised(own.restore(self.y.double()))
        return replace(self, y=y.to(self.y), target=scale)

    def inputs(self, index: Tensor | None = None, like: Tensor | None = None) -> Tensor:
        """Returns inputs as a network takes them, normalised: all, or those at ``index``.

        With ``like``, a parameter of the network, they are on its device and, unless they are integers, of its type.

        >>> part = Dataset(torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([1]),
        ...                shift=torch.tensor(127.5), scale=torch.tensor(1 / 127.5))
        >>> part.inputs()
        tensor([[-1.,  1.]])
        """
        x = self.x if index is None else self.x.index_select(0, index)
        if self.shift is not None and self.scale is not None:
            x = (x.to(torch.float32) - self.shift) * self.scale
        return x if like is None else match(x, like)


def _form(part: Tensor) -> str:
    return f"{str(part.dtype).removeprefix('torch.')} {list(part.shape)}"


def match(x: Tensor, like: Tensor) -> Tensor:
    """Returns a tensor on the device of ``like`` and, unless it holds integers, of its type; real though that is complex."""
    return x.to(like.device, like.dtype.to_real() if x.is_floating_point() else None)


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts (train, valid, test), with what is predicted from what.

    Args:
        name: Short name, as given on the command line.
        kind: Name of the task: ``"classification"`` or ``"regression"``, the same with ``"dense-"`` in front where there is a
            target at each place of an example, or another in ``netdial.task.TASKS``.
        train: What networks are fitted on; every statistic used to encode inputs comes from here.
        valid: What choices are made on.
        test: What is looked at once, at the end.
        n_outputs: Outputs that a network needs: number of classes, or of regression targets, at all places.
        classes: Names of the classes in the order of their indices; empty for regression.
        source: JSON-able provenance: origin, files, split seed, sizes, how inputs and targets were
            encoded, notes.
        rows: For each part, the int64 row numbers (from 0) in the source; ``source["rows"]`` says
            of which file.
        augment: How training images may be varied (``"crop-flip"``, ``"shift"``), or None.
        schema: For tables, how columns were read and what outputs mean; it reads new rows the same
            way. None for images and a user's own data.
    """

    name: str
    kind: str
    train: Dataset
    valid: Dataset
    test: Dataset
    n_outputs: int
    classes: tuple[str, ...]
    source: dict[str, Any]
    rows: dict[str, Tensor]
    augment: str | None = None
    schema: TableSchema | None = None

    def __repr__(self) -> str:
        """Returns what is predicted from what, and how many examples each part has."""
        count, what = self.n_outputs, "output" if self.n_outputs == 1 else "outputs"
        outputs = f"{len(self.classes)} classes" if self.classes else f"{count} {what}"
        parts = ", ".join(f"{name} {len(self.part(name))}" for name in PARTS)
        return f"Splits({self.name}: {self.kind}, inputs {list(self.input_shape)}, {outputs}; examples: {parts})"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch."""
        return tuple(self.train.x.shape[1:])

    def part(self, name: str) -> Dataset:
        """Returns the part called ``"train"``, ``"valid"`` or ``"test"``."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        if name not in parts:
            raise DataError(f"no part {name!r} in the data (allowed: {', '.join(PARTS)})")
        return parts[name]
