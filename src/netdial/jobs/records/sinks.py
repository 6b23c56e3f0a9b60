"""Sinks: other places that the records of a run go to as they are made. TensorBoard and MLflow, each from an extra of its name.

The run folder stays the one source; what a sink holds can be thrown away. A sink that fails in the middle of training is left
out from then on with one warning, as training is worth more. A further sink is a class under a name in ``SINKS``.
"""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

from netdial.core.errors import missing_extra, warn
from netdial.core.records import Record
from netdial.core.registry import Registry
from netdial.runs.run import Run

_IN_TAG = ("part", "using", "batch", "method")
_BATCH = 500
"""Numbers that MLflow takes at a time; it allows 1000."""


class Sink(Protocol):
    """A place for records, made with the run, the folder that holds runs, and the step that the run goes on from."""

    needs: ClassVar[tuple[str, ...]]
    """Packages without which there is none."""

    def __init__(self, run: Run, root: Path, step: int) -> None: ...

    def write(self, records: Sequence[Record]) -> None:
        """Takes records."""

    def close(self) -> None:
        """Ends."""


SINKS: Registry[type[Sink]] = Registry("sink")
"""Sinks by name."""


def tag_of(record: Record) -> str:
    """Returns what a sink calls a quantity: method, column, and its place on other axes.

    >>> tag_of(Record("w", 0, 9, "nll", 0.3, where={"method": "evaluate", "part": "valid", "lam": 0.1}))
    'evaluate/valid/nll/lam 0.1'
    >>> tag_of(Record("w", 0, 9, "loss", 0.3, where={"method": "train", "part": "train"}))
    'train/loss'
    """
    places = (
        f"{axis} {place:g}" if isinstance(place, float) else f"{axis} {place}"
        for axis, place in record.where.items()
        if axis not in _IN_TAG
    )
    method = "" if record.column.startswith(f"{record.method}/") else record.method
    words = [method, record.column, *places]
    return "/".join(re.sub(r"[^\w\-. :/]", "_", word) for word in words if word)[:250]


@SINKS.add("tensorboard")
class TensorBoard:
    """Event files in ``RUNS/tensorboard/NAME``: ``tensorboard --logdir RUNS/tensorboard``."""

    needs: ClassVar[tuple[str, ...]] = ("tensorboard",)

    def __init__(self, run: Run, root: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = root / "tensorboard" / run.name
        self._writer: Any = SummaryWriter(str(place), purge_step=step + 1 if step else None)
        self._writer.add_text("config", f"```json\n{json.dumps(run.config, indent=2)}\n```")

    def write(self, records: Sequence[Record]) -> None:
        """Writes scalars by tag."""
        for record in records:
            self._writer.add_scalar(tag_of(record), record.value, record.step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


@SINKS.add("mlflow")
class MLflow:
    """A run of the experiment ``netdial`` in ``RUNS/mlflow.db``: ``mlflow ui --backend-store-uri sqlite:///RUNS/mlflow.db``."""

    needs: ClassVar[tuple[str, ...]] = ("mlflow", "sqlalchemy", "alembic")

    def __init__(self, run: Run, root: Path, step: int) -> None:
        for name in ("mlflow", "alembic"):  # they say that tables are made
            logging.getLogger(name).setLevel(logging.WARNING)
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        self._client: Any = MlflowClient(f"sqlite:///{(root / 'mlflow.db').absolute()}")
        found = self._client.get_experiment_by_name("netdial")
        there = found.experiment_id if found else self._client.create_experiment("netdial")
        tags = {"netdial.folder": str((root / run.name).absolute())}
        known = f"tags.`netdial.folder` = {json.dumps(tags['netdial.folder'])}"
        old = self._client.search_runs([there], known, max_results=1) if step else []
        if old:
            self._id = old[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(there, run_name=run.name, tags=tags).info.run_id
        params = [Param(name, json.dumps(value)[:6000]) for name, value in run.config.items()]
        self._client.log_batch(self._id, params=params[:100])

    def write(self, records: Sequence[Record]) -> None:
        """Writes metrics by tag."""
        now = int(1000 * time.time())
        metrics = [self._metric(tag_of(one), one.value, now, one.step) for one in records]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._id, metrics=metrics[start : start + _BATCH])

    def close(self) -> None:
        """Marks the run as finished."""
        self._client.set_terminated(self._id)


def check_sinks(names: Sequence[str]) -> None:
    """Raises what is wrong with names of sinks: ConfigError for unknown ones, MissingExtra without their packages."""
    for name in names:
        if any(find_spec(package) is None for package in SINKS[name].needs):
            raise missing_extra(f"--log {name}", name)


@contextmanager
def sending(run: Run, names: Sequence[str], root: Path, step: int) -> Iterator[None]:
    """Sends every record that is made of a run meanwhile to sinks, too.

    Args:
        run: the run.
        names: names of the sinks.
        root: folder that holds runs.
        step: the step that it goes on from.
    """
    open_sinks: dict[str, Sink] = {}

    def safely(name: str, what: Any, *given: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the packages' own dependencies
                return what(*given)
        except Exception as error:
            open_sinks.pop(name, None)
            warn(f"--log {name}: {type(error).__name__}: {error}; nothing more is sent there")

    for name in dict.fromkeys(names):
        made = safely(name, SINKS[name], run, root, step)
        if made is not None:
            open_sinks[name] = made

    def send(records: Sequence[Record]) -> None:
        for name, sink in list(open_sinks.items()):
            safely(name, sink.write, records)

    run.listeners.append(send)
    try:
        yield
    finally:
        with suppress(ValueError):
            run.listeners.remove(send)
        for name, sink in list(open_sinks.items()):
            safely(name, sink.close)
