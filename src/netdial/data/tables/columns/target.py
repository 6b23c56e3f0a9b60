"""The target columns of a table: classes of one, or numbers of one or more, and what outputs stand for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from netdial.data.tables.columns.model import FrozenModel
from netdial.data.tables.columns.number import Mark, Style


class TargetColumns(FrozenModel):
    """What is predicted: classes of one column, or numbers of one or more columns.

    Attributes:
        kind: ``classification`` or ``regression``.
        columns: names of the target columns.
        classes: names of the classes in the order of the outputs; none for regression.
        mean: for regression, what a standardised 0 is in the units of each target.
        std: for regression, what a standardised step of 1 is in the units of each target.
        decimal, thousands, mark: how the numbers of the first target are written, see ``Style``.
        others: how those of each further target are; none in older files, which read them as the first.
    """

    kind: Literal["classification", "regression"]
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, Field(gt=0)], ...] = ()
    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None
    mark: Mark | None = None
    others: tuple[Style, ...] = ()

    @model_validator(mode="after")
    def _agree(self) -> TargetColumns:
        if self.kind == "classification":
            good = len(self.columns) == 1 and len(self.classes) > 1 and not (self.mean or self.std)
        else:
            good = len(self.columns) == len(self.mean) == len(self.std) > 0 and not self.classes
            good = good and len(self.others) in (0, len(self.columns) - 1)
        if not good:
            raise ValueError("columns, classes, mean, std and others do not go together")
        return self

    @property
    def styles(self) -> tuple[Style, ...]:
        """How the numbers of each target are written."""
        first = Style(decimal=self.decimal, thousands=self.thousands, mark=self.mark)
        return (first, *(self.others or (first,) * (len(self.columns) - 1)))

    @property
    def hundredths(self) -> tuple[str, ...]:
        """Targets that had a % in training: numbers of them, and predictions, are hundredths."""
        named = zip(self.columns, self.styles, strict=True)
        return tuple(name for name, style in named if style.mark == "%")

    @property
    def n_outputs(self) -> int:
        """Outputs of a network: classes, or targets."""
        return len(self.classes) or len(self.columns)
