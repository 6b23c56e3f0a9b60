"""Runs a sweep: the one door for Python and for the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from netdial.core.errors import CheckpointError, ConfigError, warn
from netdial.data.tables.files.frame import Frame
from netdial.data.tables.source import kept_as_file
from netdial.jobs.pool import cores
from netdial.sweeps.conductor import Conductor, Told
from netdial.sweeps.engines import ENGINES
from netdial.sweeps.folder import SweepFolder, fetch_about
from netdial.sweeps.remote import folder_for, is_address
from netdial.sweeps.result import Sweep
from netdial.sweeps.samplers import SAMPLERS, need_optuna
from netdial.sweeps.spec import SweepSpec, read_spec
from netdial.sweeps.trials.kinds import judged_apart
from netdial.sweeps.trials.making import make_trial


def sweep(
    spec: SweepSpec | Mapping[str, Any] | str | Path,
    *,
    retry: bool = False,
    report: Callable[[Told], None] | None = None,
    **changes: Any,
) -> Sweep:
    """Runs many trials of a way of training, over ranges of its settings, and returns what came out.

    What is done is not done again: the same call goes on where it was stopped, and with more ``trials`` makes the others.
    Trials are run folders under ``storage/NAME/cells``.

    Args:
        spec: a YAML file, or its keys: ``name``, ``data``, ``way``, ``settings``, ``space``, ``trials``, ``sampler``,
            ``objectives`` … (`SweepSpec`). ``data``, and ``valid`` and ``test`` in ``settings``, may be tables in memory; they
            are kept in the folder of the sweep, as Parquet.
        retry: try trials again that failed.
        report: told of every trial that begins or ends.
        changes: keys of the spec to set besides.

    Returns:
        The sweep: ``trials``, ``best()``, ``front()``.

    Raises:
        ConfigError: something in the spec is not allowed, or a sweep of that name is another one.
        BusyError: another process works on it.
        MissingExtra: Optuna is not installed.
    """
    spec, changes = _frames_kept(spec, changes)
    asked = read_spec(spec, **changes)
    need_optuna()
    folder = SweepFolder.of(asked)
    engine, workers = engine_of(asked)
    for remark in filter(None, (asked.remark, judged_apart(asked.space))):
        warn(f"sweep {asked.name}: {remark}")
    with folder.working():
        if retry:
            folder.forget_failures()
        conductor = Conductor(folder, report)
        make = functools.partial(make_trial, store=folder.store, halving=asked.halving)
        ENGINES[engine](conductor, make, workers)
    return Sweep.read(folder)


def _frames_kept(spec: Any, changes: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Returns a spec and changes to it in which tables in memory are names of files."""
    keys = {**(spec if isinstance(spec, Mapping) else {}), **changes}
    storage = str(keys.get("storage") or SweepSpec.model_fields["storage"].default)
    folder = Path(storage) / str(keys.get("name"))

    def kept(value: Any) -> Any:
        if not isinstance(value, Frame):
            return value
        if is_address(storage):
            raise ConfigError(
                f"data of a frame with storage {storage}: other machines cannot read it; write it there and give its name"
            )
        return kept_as_file(value, folder)

    def named(given: Mapping[str, Any]) -> dict[str, Any]:
        found = {key: kept(value) for key, value in given.items()}
        if isinstance(found.get("settings"), Mapping):
            found["settings"] = {key: kept(value) for key, value in found["settings"].items()}
        return found

    return (named(spec) if isinstance(spec, Mapping) else spec), named(changes)


def engine_of(spec: SweepSpec) -> tuple[str, int]:
    """Returns where trials are made, and how many at a time.

    Raises:
        ConfigError: more workers than trials may be under way.
    """
    learns = SAMPLERS[spec.sampler].learns
    if learns and spec.workers > spec.ahead:
        raise ConfigError(
            f"workers={spec.workers}, ahead={spec.ahead}: sampler {spec.sampler} waits for results of the last {spec.ahead} "
            f"trials, so more would be idle; set ahead to {spec.workers}, or choose sampler random"
        )
    workers = spec.workers or (spec.ahead if spec.cluster else cores())
    workers = min(workers, spec.count, spec.ahead if learns else workers)
    alone = "here" if workers == 1 else "processes"
    engine = spec.engine or ("ray" if spec.cluster else alone)
    ENGINES[engine]
    if spec.cluster and engine != "ray":
        raise ConfigError(
            f"cluster={spec.cluster!r} is for engine ray, and engine is {engine}; leave one of them out"
        )
    return engine, 1 if engine == "here" else workers


def open_sweep(name: str | Path, storage: str | Path = "runs/sweeps") -> Sweep:
    """Returns a sweep as it stands in its folder.

    Args:
        name: its folder, or its name.
        storage: folder of sweeps, for a name.

    Raises:
        CheckpointError: there is none.
    """
    return Sweep.read(folder_of(name, storage))


def folder_of(name: str | Path, storage: str | Path = "runs/sweeps") -> SweepFolder:
    """Returns the folder of a sweep, given by path or by name.

    Raises:
        CheckpointError: there is none; those that there are are named.
    """
    if is_address(str(storage)):
        here = folder_for(str(storage)) / name
        fetch_about(f"{str(storage).rstrip('/')}/{name}", here)
        places = [here]
    else:
        places = [Path(name), Path(storage) / name]
    for path in places:
        if (path / "sweep.json").exists():
            return SweepFolder.open(path)
    there = sorted(path.parent.name for path in Path(storage).glob("*/sweep.json"))
    known = f"; there are {', '.join(there)}" if there else ""
    raise CheckpointError(
        f"{name}: no such sweep in {storage}{known}; begin one with netdial sweep SPEC.yaml"
    )
