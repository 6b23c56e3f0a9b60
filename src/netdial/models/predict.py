"""Predictions of a model on rows as people have them: a table of classes with probabilities, or numbers with intervals.

Shapes: B rows, O outputs, T targets, S draws of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from netdial.core.arguments import Whole, expect
from netdial.core.errors import ConfigError, DataError, NetdialError, ShapeError, warn
from netdial.core.noise import generator
from netdial.core.outputs import ROWS, without_gradients
from netdial.data.tables.schema import Encoded
from netdial.family.family import Family
from netdial.models.use import ErrorLaw, Pixels, Use
from netdial.task import Regression, Task
from netdial.task.noise import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

Net = TypeVar("Net", bound=nn.Module)


class Predicts:
    """What a loaded model can do besides: predict from rows as people have them.

    Attributes:
        use: how the model is used; None if its file does not say.
    """

    use: Use | None

    def predict(
        self,
        rows: Any,
        *,
        lam: float | None = None,
        n_samples: int = 0,
        level: float = 0.9,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Returns predictions as a table, one line for each row; see ``netdial.models.predict.predictions``.

        Warns of what training did not show.
        """
        assert isinstance(self, nn.Module)
        if self.use is None:
            raise ConfigError(
                "this model does not say how rows become inputs; save it with nd.save(…, data=what it was trained on), or "
                "call it on tensors as the network takes them"
            )
        found, remarks = predictions(
            self, self.use, rows, lam=lam, n_samples=n_samples, level=level, seed=seed
        )
        if remarks:
            warn("; ".join(remarks))
        return found

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copies and pickles as the class of before, made ready again."""
        whole = super().__reduce_ex__(protocol)
        bases = type(self).__bases__
        if isinstance(whole, tuple) and whole[1] == (type(self),):  # by copyreg.__newobj__
            return (_revived, (bases[1],), *whole[2:])
        return whole


def ready(model: Net, use: Use | None) -> Net:
    """Returns a model that can ``predict``: the same object, of a class that adds it to its own.

    A network stays as it is if nothing is known of its use, or if its class has a method ``predict`` of its own. That of a
    family takes parameters and tensors, which is ``outputs``, too; a loaded one predicts from rows.
    """
    own = getattr(type(model), "predict", None)
    if own is Family.predict or (own is None and use is not None):
        model.__class__ = _ready(type(model))
        model.use = use  # type: ignore[assignment]
    return model


def _ready(base: type) -> Any:
    return type(
        base.__name__, (Predicts, base), {"__module__": base.__module__, "__doc__": base.__doc__}
    )


def _revived(base: type) -> Any:
    made = _ready(base)
    return made.__new__(made)


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
            tensors as the network takes them.
        lam: member of a family; by default the one that ``use`` names.
        n_samples: draws of a family's weights whose predictions are averaged; 0 takes the mean weights.
        level: probability of the intervals of a regression, in (0, 1).
        seed: seed of the draws.

    Returns:
        For a classification the columns are the target, with the name of the likeliest class, and ``probability of NAME`` for
        each class. For a regression they are each target in its own units, with ``TARGET low`` and ``TARGET high`` where the
        errors on held-out rows are known: an interval that holds the value with probability ``level`` if the row is drawn as
        those were, whatever the law of the errors; a remark says so if they are not known.

    Raises:
        ConfigError: λ is missing or outside the range, given for a single network, or an option is out of range.
        DataError: a column is missing, or a cell cannot be read.
        ShapeError: rows are not of the shape that the model takes.
    """
    from netdial.data._optional import require

    pandas = require("pandas", "a table of predictions")
    columns, remarks, index = predicted_columns(
        model, use, rows, lam=lam, n_samples=n_samples, level=level, seed=seed
    )
    return pandas.DataFrame(columns, index=index), remarks


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
    with without_gradients(), _failing_in_words(x):
        out = _outputs(model, task, x, chosen, n_samples, seed)
    return *_columns(use, task, out, use.law(chosen), level, remarks), index


def member_columns(
    net: nn.Module, use: Use, rows: Any, level: float, like: Tensor
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the columns and remarks of ``predictions`` of one network that several threads may run at once.

    Args:
        net: a network in evaluation mode whose parameters want no gradients; it is only read.
        use: how it is used.
        rows: as in ``predictions``.
        level: probability of intervals, in (0, 1).
        like: one of its parameters, whose device and kind of numbers inputs take.
    """
    x, remarks, _ = _inputs(use, rows)
    x = x.to(like.device, like.dtype if x.is_floating_point() else None)
    with torch.no_grad(), _failing_in_words(x):
        out = _in_batches(net, x)
    return _columns(use, use.what(), out, use.law(use.lam), level, remarks)


@contextmanager
def _failing_in_words(x: Tensor) -> Iterator[None]:
    """Says what a network fails with on inputs."""
    try:
        yield
    except NetdialError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ShapeError(
            f"rows as inputs {list(x.shape)}, {x.dtype}: the network does not take them ({said})"
        ) from None


def _columns(
    use: Use,
    task: Task,
    out: Tensor,
    law: ErrorLaw | None,
    level: float,
    remarks: tuple[str, ...],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the columns of predictions, and remarks."""
    if task.targets != "numbers":
        return _classes(use, task, out), remarks
    if law is None:
        remarks = (*remarks, f"no intervals: {UNKNOWN}")
    return _numbers(use, out, law, level), remarks


def _inputs(use: Use, rows: Any) -> tuple[Tensor, tuple[str, ...], Any]:
    """Returns inputs ``[B, ...]``, remarks, and the index of the rows if they have one."""
    if use.table is not None and not isinstance(rows, Tensor):
        if isinstance(rows, str | Path):
            rows = use.table.read_file(rows)
        encoded: Encoded = use.table.encode_rows(rows)
        return encoded.x, encoded.remarks, getattr(rows, "index", None)
    try:
        x = rows if isinstance(rows, Tensor) else torch.as_tensor(np.asarray(rows))
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"rows: {error}; give a tensor or an array of numbers") from None
    if use.pixels is not None and x.dtype == torch.uint8:
        x = _images(use.pixels, x)
    return x, (), None


def _images(pixels: Pixels, x: Tensor) -> Tensor:
    """Returns images uint8 as the network takes them."""
    channels, height, width = pixels.image
    x = x[:, None] if x.ndim == 3 and channels == 1 else x
    if tuple(x.shape[1:]) != pixels.image:
        raise ShapeError(
            f"images {list(x.shape)}; expected uint8 [B, {channels}, {height}, {width}], as in training"
        )
    if channels == 1:
        return ((x.float() - pixels.shift[0]) * pixels.scale[0]).reshape(len(x), *pixels.inputs)
    shift, scale = (torch.tensor(part)[:, None, None] for part in (pixels.shift, pixels.scale))
    return ((x.float() - shift) * scale).reshape(len(x), *pixels.inputs)


def _outputs(
    model: nn.Module, task: Task, x: Tensor, lam: float | None, n_samples: int, seed: int
) -> Tensor:
    """Returns outputs ``[B, O]``, of the mean weights or averaged over draws of them."""
    if not isinstance(model, Family):
        return _run(model, x)
    assert lam is not None
    if not n_samples:
        return _run(model.export(lam), x)
    source, means = generator(seed, "predict"), []
    x = x.to(model.dtype) if x.is_floating_point() else x
    for _ in range(n_samples):
        weights = model.sample(lam, source)
        drawn = [model.outputs(weights, part, lam) for part in x.split(ROWS)]
        means.append(task.to_mean(torch.cat(drawn)))
    return task.of_mean(torch.stack(means).mean(0))


def _run(net: nn.Module, x: Tensor) -> Tensor:
    like = next(iter(net.parameters()))
    x = x.to(like.device, like.dtype if x.is_floating_point() else None)
    was = net.training
    net.eval()
    try:
        return _in_batches(net, x)
    finally:
        net.train(was)


def _in_batches(net: nn.Module, x: Tensor) -> Tensor:
    if len(x) <= ROWS:
        out: Tensor = net(x)
        return out.cpu()
    return torch.cat([net(part).cpu() for part in x.split(ROWS)])


def _classes(use: Use, task: Task, out: Tensor) -> dict[str, Any]:
    """Returns the column of the likeliest class, and one of each class's probability."""
    shares = task.to_mean(out.double())
    names: Sequence[str] = use.classes or [str(k) for k in range(shares.shape[-1])]
    count = task.outputs(len(names))
    if out.ndim != 2 or out.shape[1] != count or shares.shape[1] != len(names):
        raise ShapeError(
            f"outputs {list(out.shape)}; expected [B, {count}] for {len(names)} classes"
        )
    target = use.table.target.columns[0] if use.table is not None else "class"
    each = shares.numpy()
    columns: Mapping[str, Any] = {
        f"probability of {name}": each[:, k] for k, name in enumerate(names)
    }
    return {target: [names[k] for k in each.argmax(1).tolist()], **columns}


def _numbers(use: Use, out: Tensor, law: ErrorLaw | None, level: float) -> dict[str, Any]:
    """Returns a column for each target in its own units, with its interval if the errors are known."""
    count = out.shape[-1]
    task = use.what()
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
    half = None if law is None else law.half_width(level) * std
    columns: dict[str, Any] = {}
    for t, name in enumerate(names):
        columns[name] = values[:, t]
        if half is not None:
            columns[f"{name} low"] = values[:, t] - half[t]
            columns[f"{name} high"] = values[:, t] + half[t]
    return columns
