"""What ``netdial compress`` and ``netdial slim`` are about: the model and the data of a run, or of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from netdial.compression.file import read_text
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.storage.container import read_plain
from netdial.data import Splits
from netdial.data.dataset import Dataset
from netdial.data.memory.weights import ClassWeight, weighted
from netdial.data.tables.options import TableOptions, is_table
from netdial.family import Family
from netdial.jobs.opening import as_trained, open_run, open_task
from netdial.jobs.problem import describe_net, load_net, load_parts, origin_of, weights_by_index
from netdial.jobs.ways import way_of
from netdial.models.compressed import CUT, FAMILY
from netdial.models.compressed import KIND as COMPRESSED
from netdial.models.cut.recipe import PRUNED, SHRUNKEN
from netdial.models.derived import KIND as DERIVED_NETWORK
from netdial.models.derived import STRUCTURE, how_derived
from netdial.models.described import described
from netdial.models.door import inspect, open_model
from netdial.models.kinds import KINDS, Found, recognise
from netdial.models.use import Use, is_read_alike, read_use, use_of
from netdial.runs.curves import headline, members
from netdial.runs.run import Run
from netdial.task import task_of
from netdial.task.rehearsal import admit
from netdial.train.class_weights import weights_by_class


@dataclass(frozen=True, eq=False)
class ModelAndData:
    """What is made smaller.

    Attributes:
        model: a family, or a network.
        lam: member of the family; None for a network.
        data: its data.
        recipe: how a fresh network is built, as plain values.
        meta: what else the file says.
        use: how the model is used; None where nobody knows.
        fresh: a network of the same shape that was not trained; None where nobody knows how to build one.
        whole: whether the whole family is meant, and ``lam`` says only which member it is measured by.
        class_weight: weights of the classes that it was trained with, by index.
        batch_size: examples in a batch of its training; None where nobody knows.
        compiled: whether it was trained by compiled steps.
        seed: seed of its training.
    """

    model: nn.Module
    lam: float | None
    data: Splits
    recipe: Mapping[str, Any] | None
    meta: Mapping[str, Any]
    use: Use | None = None
    fresh: nn.Module | None = None
    whole: bool = False
    class_weight: ClassWeight = None
    batch_size: int | None = None
    seed: int = 0
    compiled: bool = False

    @property
    def train(self) -> Dataset:
        """What it is trained further on: its training part, with the weights of the classes."""
        return weighted(self.data.train, self.class_weight, task_of(self.data).targets)

    def told(self, net: nn.Module) -> dict[str, Any]:
        """Returns what the file says of a network that was made, with its own errors on validation rows."""
        use = {} if self.use is None else self.use.measured(net, self.data.valid).compact()
        return {**self.meta, **use}

    @property
    def built(self) -> dict[str, Any]:
        """What a file says of the network as it was built, before anything was cut of it; nothing where nobody knows."""
        told = {**(self.recipe or {}), **(self.recipe or {}).get(CUT, {}).get("about", {})}
        return {key: told[key] for key in ("net", STRUCTURE) if key in told}

    @property
    def wanted(self) -> float | None:
        """Complexity value that ``nd.compress`` is given."""
        return None if self.whole else self.lam


def best_lam(run: Run) -> float:
    """Returns the complexity value of the best member on validation data.

    Raises:
        ConfigError: nothing was measured.
    """
    answer = headline(members(run.records()), run.config)
    if answer is None:
        raise ConfigError(f"{run.path}: no member was measured on validation data; give --lam")
    return answer.best.lam


def from_run(
    run: Run,
    lam: float | None,
    data_dir: str | None = None,
    *,
    whole: bool = False,
    trust: bool = False,
) -> ModelAndData:
    """Returns a member of a run, by default the best one on validation data; or the network of a run that made no family.

    With ``whole`` it is the family, and that member is the one to use by default.

    Raises:
        ConfigError: λ is outside the trained range, or was given for a network that has none.
        CheckpointError, DataError: as for ``open_run``.
    """
    about = {"run": run.name, **origin_of(run)}
    recipe = describe_net(run) or None
    trained = run.config["batch_size"], run.config["seed"], run.config.get("compiled", False)
    if way_of(run).makes_family:
        lam = best_lam(run) if lam is None else lam
        family, data = open_run(run, data_dir, [lam], trust=trust)
        use = (
            use_of(data, family, lam=lam) if whole else use_of(data, family, lams=[lam]).alone(lam)
        )
        about |= {} if whole else {"lam": lam}
        fresh = load_net(run.config, data_dir, trust=trust)
        weights = as_trained(run, data)["class_weight"]
        return ModelAndData(family, lam, data, recipe, about, use, fresh, whole, weights, *trained)
    _check_whole(run.name, whole)
    if lam is not None:
        raise ConfigError(
            f"--lam {lam:g}: run {run.name} has one network and no complexity values; leave it out"
        )
    data = open_task(run, data_dir, trust=trust)
    net = open_model(run.path, None if recipe else load_net(run.config, data_dir, trust=trust))
    made = how_built(recognise(run.path))
    weights = as_trained(run, data)["class_weight"]
    use = use_of(data, net)
    return ModelAndData(net, None, data, made, about, use, None, False, weights, *trained)


def how_built(found: Found) -> dict[str, Any] | None:
    """Returns how the network of a file is made from nothing, or from a fresh one, as plain values; None where nobody said."""
    if found.kind == COMPRESSED:
        told = read_text(found.path).recipe
        parts = dict(told) if isinstance(told, Mapping) else {}
        return {key: part for key, part in parts.items() if key != FAMILY} or None
    if found.kind == DERIVED_NETWORK:
        return {STRUCTURE: how} if (how := how_derived(found.path)) else None
    if found.kind in (SHRUNKEN, PRUNED):
        cut: dict[str, Any] = json.loads(read_plain(found.path)["recipe"])
        told = cut.get("about", {})
        return {CUT: {**cut, "about": {n: told[n] for n in ("net", STRUCTURE) if n in told}}}
    net = KINDS[found.kind].about(found.path).get("net")
    return None if net is None else {"net": net}


def _check_whole(name: object, whole: bool) -> None:
    if whole:
        raise ConfigError(f"--family: {name} has one network and no family; leave it out")


def from_file(
    path: Path,
    data: str | None,
    lam: float | None,
    data_dir: str | None = None,
    *,
    whole: bool = False,
    instead: str = "",
) -> ModelAndData:
    """Returns the model in a file, with the data set it was trained on, by name, or that of ``data``.

    With ``whole`` a family is compressed as one, and the member to use by default is that at ``lam``, or what the file says.

    Raises:
        ConfigError: the file does not say which data, or λ is missing (``instead`` says what else could be given) or too many.
        CheckpointError: the file is damaged, or no model.
    """
    said = inspect(path)
    about = dict(said.about)
    name = data or about.get("data")
    model = open_model(path)
    if not isinstance(model, nn.Module):
        described(path, about)  # refuses tensors of which nobody knows the network
    if not isinstance(name, str):
        raise ConfigError(f"{path}: does not say which data the model was trained on; give --data")
    shape = (about.get("net") or {}).get("input_shape", [])
    use = read_use(path, about)
    split = about.get("split") if name == about.get("data") else None
    parts = _read_again(path, name, use, split or {}, data_dir, flat=len(shape) == 1)
    admit(model.net if isinstance(model, Family) else model, parts.train, parts.kind)
    if not isinstance(model, Family):
        _check_whole(path, whole)
    elif whole and lam is None:
        lam = (use and use.lam) or model.lams(1)[0]
    check_lam(path, model, lam, instead)
    recipe = how_built(recognise(path))
    meta: dict[str, Any] = {
        n: about[n] for n in ("data", "kind", "split", "class_weight") if n in about
    }
    if lam is not None and not whole:
        meta["lam"], use = lam, use and use.alone(lam)
    weights = _weights(path, about, parts)
    return ModelAndData(model, lam, parts, recipe, meta, use, whole=whole, class_weight=weights)


def check_lam(path: Path, model: object, lam: float | None, instead: str = "") -> None:
    """Refuses a family in a file without the complexity value of a member, and a value for one network.

    Raises:
        ConfigError: it is so; ``instead`` says what else could be given.
    """
    if isinstance(model, Family) and lam is None:
        raise ConfigError(
            f"{path}: holds a family; give --lam, the complexity value of a member{instead}"
        )
    if lam is not None and not isinstance(model, Family):
        raise ConfigError(f"--lam {lam:g}: {path} holds one network; leave it out")


def _weights(path: Path, about: Mapping[str, Any], data: Splits) -> ClassWeight:
    """Returns the weights of the classes that the model in a file was trained with, by index.

    Raises:
        CheckpointError: they are damaged, or of other classes.
    """
    try:
        return weights_by_index(weights_by_class(about.get("class_weight")), data)
    except ConfigError as error:
        raise CheckpointError(f"{path}: is damaged ({error}); restore it from a copy") from None


def _read_again(
    path: Path,
    name: str,
    use: Use | None,
    split: Mapping[str, Any],
    data_dir: str | None,
    *,
    flat: bool,
) -> Splits:
    """Returns the data of a model in a file, read and split as the file says; a table has to come out as it did in training.

    Raises:
        ConfigError: it does not, so that its rows would be told to the network in other units than it learned from.
    """
    table, options = None if use is None else use.table, dict[str, Any]()
    if table is not None and is_table(name):
        default = TableOptions()
        options = {n: v for n, v in table.options if v != getattr(default, n)}
        options |= {"target": ",".join(table.target.columns), "kind": table.target.kind}
    parts = load_parts(name, {**options, **split}, data_dir, flat=flat)
    if table is not None and (parts.schema is None or not is_read_alike(parts.schema, table)):
        raise ConfigError(
            f"{path}: {name} is not read and split as it was when the model was trained (other rows, --split-seed, --valid, "
            "--test, or other columns); give its run in place of the file"
        )
    return parts
