"""The lab: an experiment's name becomes its outcome, in a folder that can be left and come back to.

An experiment is a module with one function ``experiment(lab) -> Outcome``: it names its cells, has the lab make them, and
puts their results into tables and figures. To add one, write the module and name it in ``EXPERIMENTS``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from netdial import __version__
from netdial.core.errors import CheckpointError, ConfigError, unknown
from netdial.core.storage.files import write_json
from netdial.jobs.pool import Made, make_all
from netdial.papers.lab.outcome import Outcome
from netdial.papers.lab.page import write_outcome
from netdial.runs.store import ENGINE, Cell, Store

EXPERIMENTS = {
    "mnist-table1": "2022 paper, Table 1, Figs. 4 and 5: nine implementations pruned, by the paper's rule and honestly",
    "mnist-2021": "2021 paper, Tables 1 to 3: accuracy, updates, stability, generalised evidence of methods (a) to (f)",
    "wine-fig3": "2022 paper, Fig. 3: how close members of a family are to directly trained networks",
    "surface": "2022 paper, Fig. 1: accuracy over complexity and share removed, with the line of best members",
    "cifar-table2": "2022 paper, Table 2: six implementations pruned on CIFAR-10; small on a CPU, full size with --full",
    "retraining": "Han et al. 2015: L2 against L1, the previous optimum against random weights, modes of the weights",
    "group-sparsity": "ShrinkNets, Fig. 1: switches against the group lasso, whose optimum is known, on four data sets",
    "shrink-front": "ShrinkNets, §4: size at equal accuracy of shrunken networks, fixed widths, and one family slimmed",
    "theory": "2022 paper, Theorem 2: the better the objective, the closer the pruning criterion to direct networks'",
}
"""Experiments by name, each in one line."""

FORMAT = 1
_MANIFEST = "experiment.json"


@dataclass(frozen=True)
class Lab:
    """What an experiment works with.

    Attributes:
        name: the experiment.
        store: where its cells are.
        quick: whether a small version is wanted.
        full: whether the size of the paper is wanted where the default is smaller.
        seeds: how many seeds, or None for the experiment's own number.
        data: another data set than the paper's, or None.
        workers: processes; 0 for one on every core.
        report: told after every cell.
    """

    name: str
    store: Store
    quick: bool = False
    full: bool = False
    seeds: int | None = None
    data: str | None = None
    workers: int = 0
    report: Callable[[Made], None] | None = None

    def make(self, cells: Sequence[Cell]) -> None:
        """Makes the cells that are missing; the first time in a folder, it becomes that of this experiment.

        Raises:
            CheckpointError: the folder belongs to another experiment, or another version of netdial filled it.
        """
        claim(self.store.folder, self.name)
        make_all(cells, self.store, workers=self.workers, report=self.report)

    def seed_list(self, usual: int, *, quick: int = 1) -> list[int]:
        """Returns the seeds: as many as were asked for, else the experiment's usual number, or ``quick``."""
        return list(range(self.seeds or (quick if self.quick else usual)))


def perform(
    name: str,
    *,
    folder: str | Path | None = None,
    quick: bool = False,
    full: bool = False,
    seeds: int | None = None,
    data: str | None = None,
    data_dir: str | None = None,
    workers: int = 0,
    report: Callable[[Made], None] | None = None,
) -> Outcome:
    """Performs an experiment, or goes on with it, and writes ``RESULT.json`` and ``report.html`` into its folder.

    Args:
        name: one of ``EXPERIMENTS``.
        folder: where everything goes; by default that of ``folder_of``.
        quick: a small version, for a first look.
        full: the size of the paper where the default is smaller (``cifar-table2``).
        seeds: how many starts; by default the paper's number.
        data: another classification data set than the paper's; what the paper reports is then left out.
        data_dir: folder of data files; None for NETDIAL_DATA.
        workers: processes, one thread each; 0 for one on every core.
        report: told after every cell.

    Raises:
        ConfigError: unknown experiment, or options that exclude each other.
        DataError: the data are not there.
        CheckpointError: the folder belongs to another experiment or to another version.
    """
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    if quick and full:
        raise ConfigError("quick and full exclude each other; give one of them")
    if seeds is not None and seeds < 1:
        raise ConfigError(f"seeds={seeds}; expected at least 1")
    place = Path(folder) if folder is not None else folder_of(name, quick=quick)
    store = Store(place, data_dir)
    lab = Lab(name, store, quick, full, seeds, data, workers, report)
    module = import_module(f"netdial.papers.{name.replace('-', '_')}")
    outcome: Outcome = module.experiment(lab)
    write_outcome(outcome, place)
    return outcome


def folder_of(name: str, *, quick: bool = False) -> Path:
    """Returns the usual folder of an experiment: ``runs/reproduce/NAME``, or ``NAME-quick``."""
    return Path("runs/reproduce") / (f"{name}-quick" if quick else name)


def claim(folder: Path, name: str) -> None:
    """Marks a folder as that of an experiment.

    Raises:
        CheckpointError: it belongs to another experiment, or another version of netdial filled it.
    """
    path = folder / _MANIFEST
    mine = {"format": FORMAT, "experiment": name, "engine": ENGINE}
    if not path.exists():
        write_json(path, {**mine, "netdial": __version__})
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        theirs = {key: found[key] for key in mine}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({type(error).__name__}); delete the folder, or choose another with --out"
        ) from None
    if theirs["experiment"] != name:
        raise CheckpointError(
            f"{folder}: holds the experiment {theirs['experiment']!r}, not {name!r}; choose another folder with --out"
        )
    if theirs != mine:
        raise CheckpointError(
            f"{folder}: was filled by another version (netdial {found.get('netdial', '?')}, format {theirs['format']}, "
            f"engine {theirs['engine']}; this one is {__version__}, {FORMAT}, {ENGINE}), whose numbers do not mix with "
            "this one's; delete the folder, or choose another with --out"
        )
