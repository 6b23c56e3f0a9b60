"""The columns of the inputs that a network was trained on, as far as they tell whether it meets the same ones again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

_FAR = 100
_MOVED = 3  # a part may hold other examples than training had; one in other units differs in most columns
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class InputColumns:
    """The columns of inputs.

    Attributes:
        names: of a frame; empty if there are none.
        mean: of each column ``[F]``, or of all numbers of an image or a series ``[1]``; None where inputs are no array of
            floating-point numbers.
        std: their standard deviations.
        rows: how many rows they are of.
    """

    names: tuple[str, ...] = ()
    mean: Tensor | None = None
    std: Tensor | None = None
    rows: int = 0

    def unlike(self, given: InputColumns) -> str:
        """Returns how the scale of inputs differs from that of these, in words; empty if it does not, or is not known."""
        if self.mean is None or self.std is None or given.mean is None or given.std is None:
            return ""
        there = (self.std > 0) & self.mean.isfinite() & self.std.isfinite()
        if len(self.mean) != len(given.mean) or not bool(there.any()):
            return ""
        away = ((given.mean - self.mean).abs() / self.std).where(there, 0.0)
        is_moved = bool(away[there].median() > _MOVED)
        if len(away) == 1:  # of rare columns a part may hold too few rows to tell how they spread
            is_moved |= not 1 / _MOVED <= float(given.std / self.std) <= _MOVED
        if not (is_moved and given.rows >= _FEWEST) and not (away > _FAR).any():
            return ""
        worst = int(away.argmax())
        mean = 0.0 if abs(self.mean[worst]) < 1e-3 * self.std[worst] else float(self.mean[worst])
        column = "they have" if len(away) == 1 else f"input {worst} has"
        return (
            f"the inputs are scaled otherwise than in training: {column} mean {float(given.mean[worst]):.3g} and standard "
            f"deviation {float(given.std[worst]):.3g}, and had {mean:.3g} and {float(self.std[worst]):.3g}"
        )
