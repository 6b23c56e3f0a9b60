"""Predictions of a model on rows as people have them: a table of classes with probabilities, or numbers with intervals.

Shapes: B rows, O outputs, T targets, C columns of numbers, S draws of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from netdial.core.arguments import Whole, expect
from netdial.core.errors import ConfigError, DataError, NetdialError, ShapeError
from netdial.core.noise import generator
from netdial.core.outputs import ROWS, evaluating, in_usual_modes, without_gradients
from netdial.data.tables.files.headings import unique_names
from netdial.data.tables.schema import Encoded
from netdial.family.family import Family
from netdial.models.use import ErrorLaw, Pixels, Use, tell_unscaled
from netdial.task import Regression, Task
from netdial.task.noise import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

_FAILURES = (RuntimeError, ValueError, IndexError)
"""What a network raises on inputs that it does not take."""


@dataclass(frozen=True)
class Columns:
    """Predictions of rows.

    Attributes:
        titles: names of the columns of numbers, C of them.
        numbers: those columns ``[B, C]``.
        target: name of the column of classes, which stands first; None for a regression.
        classes: the likeliest class of each row, B of them; none for a regression.
    """

    titles: tuple[str, ...]
    numbers: np.ndarray[Any, Any]
    target: str | None = None
    classes: Sequence[str] = ()

    def by_name(self) -> dict[str, Any]:
        """Returns the columns by name, for a table."""
        named = dict(zip(self.titles, self.numbers.T, strict=True))
        return named if self.target is None else {self.target: self.classes, **named}

    def by_row(self) -> list[dict[str, Any]]:
        """Returns one object for each row, of plain values by name of the column."""
        rows = self.numbers.tolist()
        if self.target is None:
            return [dict(zip(self.titles, row, strict=True)) for row in rows]
        titles = (self.target, *self.titles)
        return [
            dict(zip(titles, (one, *row), strict=True))
            for one, row in zip(self.classes, rows, strict=True)
        ]


def predictions(
    model: nn.Module,
    use: Use,
    rows: Any,
    *,
    lam: float | None = None,
    n_samples: int = 0,
    level: float = 0.9,
    seed: int = 0,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns predictions as a table, and remarks on what training did not show.

    Args:
        model: a family or a network.
        use: how it is used.
        rows: for a table, a data frame, columns by name, or the path of a file, read as the training file was; columns may
            stand in any order, further ones are not looked at, and the target may be absent. A category that training did
            not show counts as none; a value missing where none was missing in training counts as the median, the mean date
            or no category; both are remarked. For images, uint8 ``[B, C, H, W]`` (or ``[B, H, W]`` with one channel). Else
            tensors as the network takes them: of images scaled as in training.
        lam: member of a family; by default the one that ``use`` names.
        n_samples: draws of a family's weights whose predictions are averaged; 0 takes the mean weights.
        level: probability of the intervals of a regression, in (0, 1).
        seed: seed of the draws: with that of an evaluation, and as many, they are the same weights.

    Returns:
        For a classification the columns are the target, with the name of the likeliest class, and ``probability of NAME`` for
        each class; where a loss function of your own was trained on, which knows no probabilities, the class of the largest
        output and ``output for NAME``. For a regression they are each target in its own units, with ``TARGET low`` and
        ``TARGET high`` where the errors on held-out rows are known: an interval that holds the value with probability ``level``
        if the row is drawn as those were, whatever the law of the errors; a remark says so if they are not known.

    Raises:
        ConfigError: λ is missing, outside the range or given for a network; an option is out of range; outputs have places.
        DataError: a column is missing, a cell cannot be read, or images are scaled otherwise than in training.
        ShapeError: rows are not of the shape that the model takes.
    """
    from netdial.data._optional import require

    pandas = require("pandas", "a table of predictions")
    columns, remarks, index = predicted_columns(
        model, use, rows, lam=lam, n_samples=n_samples, level=level, seed=seed
    )
    return pandas.DataFrame(columns, index=index), remarks


@in_usual_modes
def predicted_columns(
    model: nn.Module,
    use: Use,
    rows: Any,
    *,
    lam: float | None = None,
    n_samples: int = 0,
    level: float = 0.9,
    seed: int = 0,
) -> tuple[dict[str, Any], tuple[str, ...], Any]:
    """Returns the columns of ``predictions`` by name, its remarks, and the index of the rows; needs no pandas for arrays."""
    n_samples = expect("predict", "n_samples", n_samples, Whole)
    level, lam = (
        expect("predict", "level", level, float),
        expect("predict", "lam", lam, float | None),
    )
    if not 0 < level < 1:
        raise ConfigError(f"level={level}: the probability of an interval lies in (0, 1)")
    x, remarks, index = _inputs(use, rows)
    chosen = use.lam if lam is None else lam
    if isinstance(model, Family) and chosen is None:
        raise ConfigError(
            f"lam: which member of the family? Give a complexity value from {model.config.lo:g} to {model.config.hi:g}"
        )
    if not isinstance(model, Family) and (n_samples or lam not in (None, use.lam)):
        raise ConfigError("lam, n_samples: this is one network, not a family; leave them out")
    task = use.what()
    with without_gradients():
        try:
            out = _outputs(model, task, x, chosen, n_samples, seed)
        except _FAILURES as error:
            raise _not_taken(x, error) from None
    law = _law(model, use, task, chosen)
    columns = _columns(use, task, out, law, level)
    return columns.by_name(), _remarked(use, task, law, remarks), index


def _law(model: nn.Module, use: Use, task: Task, lam: float | None) -> ErrorLaw | None:
    """Returns the law of the errors at λ: as the use says, or that of a family that was calibrated since."""
    own = model.task if isinstance(model, Family) else None
    if lam is None or not isinstance(own, Regression) or own.curve is None:
        return use.law(lam)
    if isinstance(task, Regression) and own.curve == task.curve:
        return use.law(lam)
    found = own.curve.at(lam)
    return ErrorLaw.model_validate(
        {
            "lam": lam,
            "variance": found["error_var"],
            "tails": found["tails"],
            "reach": found["error_reach"],
        }
    )


def member_columns(
    net: nn.Module, use: Use, task: Task, rows: Any, level: float, like: Tensor
) -> tuple[Columns, tuple[str, ...]]:
    """Returns the columns and remarks of ``predictions`` of one network that several threads may run at once.

    Args:
        net: a network in evaluation mode whose parameters want no gradients; it is only read.
        use: how it is used.
        task: what it predicts: ``use.what()``.
        rows: as in ``predictions``.
        level: probability of intervals, in (0, 1).
        like: one of its parameters, whose device and kind of numbers inputs take.
    """
    x, remarks, _ = _inputs(use, rows)
    x = _like(x, like)
    with torch.no_grad():
        try:
            out = _in_batches(net, x)
        except _FAILURES as error:
            raise _not_taken(x, error) from None
    law = use.law(use.lam)
    return _columns(use, task, out, law, level), _remarked(use, task, law, remarks)


def _not_taken(x: Tensor, error: Exception) -> NetdialError:
    """Returns what a network fails with on inputs, in words."""
    if isinstance(error, NetdialError):
        return error
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ShapeError(
        f"rows as inputs {list(x.shape)}, {x.dtype}: the network does not take them ({said})"
    )


def _remarked(
    use: Use, task: Task, law: ErrorLaw | None, remarks: tuple[str, ...]
) -> tuple[str, ...]:
    """Returns remarks, with one on targets that are hundredths, and one where a regression has no intervals."""
    if task.targets != "numbers":
        return remarks
    if use.table is not None and (names := use.table.target.hundredths):
        named = ", ".join(map(repr, names))
        remarks = (*remarks, f"{named}: hundredths, as training had % there: 0.125 is 12.5%")
    return remarks if law is not None else (*remarks, f"no intervals: {UNKNOWN}")


def _inputs(use: Use, rows: Any) -> tuple[Tensor, tuple[str, ...], Any]:
    """Returns inputs ``[B, ...]``, remarks, and the index of the rows if they have one."""
    if use.table is not None and not isinstance(rows, Tensor):
        rows = use.table.read_file(rows) if isinstance(rows, str | Path) else rows
        encoded: Encoded = use.table.encode_rows(rows)
        index = None if isinstance(rows, list) else getattr(rows, "index", None)
        return encoded.x, encoded.remarks, index
    try:
        found = rows if isinstance(rows, Tensor) else np.asarray(rows)
        x = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"rows: {error}; give a tensor or an array of numbers") from None
    if use.table is not None:
        tell_unscaled(use.table, x)
    if use.pixels is None:
        return x, (), None
    if x.dtype == torch.uint8:
        return _images(use.pixels, found), (), None
    use.pixels.check_scaled(x)
    return x, (), None


def _images(pixels: Pixels, rows: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """Returns images uint8 as the network takes them; numpy scales one image in a fraction of torch's time."""
    channels, height, width = pixels.image
    raw = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
    raw = raw[:, None] if raw.ndim == 3 and channels == 1 else raw
    if raw.shape[1:] != pixels.image:
        raise ShapeError(
            f"images {list(raw.shape)}; expected uint8 [B, {channels}, {height}, {width}], as in training"
        )
    shift: Any = pixels.shift[0]
    scale: Any = pixels.scale[0]
    if channels > 1:
        shift, scale = (
            np.asarray(part, np.float32)[:, None, None] for part in (pixels.shift, pixels.scale)
        )
    values = raw.astype(np.float32)
    values -= shift
    values *= scale
    return torch.from_numpy(values.reshape(len(values), *pixels.inputs))


def _outputs(
    model: nn.Module, task: Task, x: Tensor, lam: float | None, n_samples: int, seed: int
) -> Tensor:
    """Returns outputs ``[B, O]``, of the mean weights or averaged over draws of them."""
    if not isinstance(model, Family):
        return _run(model, x)
    assert lam is not None
    if not n_samples:
        return _run(model.export(lam), x)
    source, means = generator(seed, "predictive"), []  # those of an evaluation
    x = x.to(model.dtype) if x.is_floating_point() else x
    with model.evaluating():
        for _ in range(n_samples):
            weights = model.sample(lam, source)
            drawn = [model.outputs(weights, part, lam) for part in x.split(ROWS)]
            means.append(task.to_mean(torch.cat(drawn)))
    return task.of_mean(torch.stack(means).mean(0))


def _like(x: Tensor, like: Tensor) -> Tensor:
    """Returns inputs on the device of a parameter, numbers with a fraction in its kind."""
    kind = like.dtype.to_real() if x.is_floating_point() else x.dtype
    return x if x.dtype is kind and x.device == like.device else x.to(like.device, kind)


def _run(net: nn.Module, x: Tensor) -> Tensor:
    with evaluating(net):
        return _in_batches(net, _like(x, next(iter(net.parameters()))))


def _in_batches(net: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([net(part).cpu() for part in x.split(ROWS)])


def _columns(use: Use, task: Task, out: Tensor, law: ErrorLaw | None, level: float) -> Columns:
    """Returns the columns of predictions."""
    if task.targets in ("class maps", "arrays"):
        raise ConfigError(
            f"predict: a table has a row for each example, and outputs here are {list(out.shape[1:])} for each; call the "
            "network on tensors, of a family family.export(lam)(x)"
        )
    if task.targets == "numbers":
        return _numbers(use, task, out, law, level)
    return _classes(use, task, out)


def _classes(use: Use, task: Task, out: Tensor) -> Columns:
    """Returns the column of the likeliest class, and one of each class's probability, or output under a loss of one's own."""
    shares = task.to_mean(out.double())
    names = use.classes or tuple(str(k) for k in range(shares.shape[-1]))
    count = task.outputs(len(names))
    if out.ndim != 2 or out.shape[1] != count or shares.shape[1] != len(names):
        raise ShapeError(
            f"outputs {list(out.shape)}; expected [B, {count}] for {len(names)} classes"
        )
    target = use.table.target.columns[0] if use.table is not None else "class"
    each = shares.numpy()
    titles = _titles(target, names, "probability of" if task.targets == "classes" else "output for")
    return Columns(titles, each, target, [names[k] for k in each.argmax(1).tolist()])


@lru_cache(maxsize=64)
def _titles(target: str, classes: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Returns the titles of the columns of probabilities, or of outputs; none is that of the target."""
    return tuple(unique_names([target, *(f"{what} {name}" for name in classes)])[1:])


def _numbers(use: Use, task: Task, out: Tensor, law: ErrorLaw | None, level: float) -> Columns:
    """Returns a column for each target in its own units, with its interval if the errors are known."""
    count = out.shape[-1]
    scale = task.scale if isinstance(task, Regression) else None
    target = use.table.target if use.table is not None else scale
    names = tuple(f"target {t}" for t in range(count))
    if use.table is not None:
        names = use.table.target.columns
    elif scale is not None:
        names = scale.names
    mean = np.asarray(target.mean if target is not None else [0.0] * count)
    std = np.asarray(target.std if target is not None else [1.0] * count)
    if out.ndim != 2 or count != len(names):
        raise ShapeError(
            f"outputs {list(out.shape)}; expected [B, {len(names)}], one for each target"
        )
    values = out.double().numpy() * std + mean
    if law is None:
        return Columns(names, values)
    half = law.half_width(level) * std
    bounded = np.stack([values, values - half, values + half], axis=2)  # [B, T, 3]
    titles = unique_names([*names, *(f"{name} {end}" for end in ("low", "high") for name in names)])
    titles = [title for t in range(count) for title in titles[t::count]]  # targets keep their names
    return Columns(tuple(titles), bounded.reshape(len(values), 3 * count))
