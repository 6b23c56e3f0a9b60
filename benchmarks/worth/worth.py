"""Is a family worth it? Test loss of rivals at equal processor time, above that of the member that validation data choose.

Twelve problems; networks of 50 hidden units. Ours is ``nd.fit(net, data, compiled=True)`` as it comes, which needs a compiler,
and the λ of the least validation loss among 21, evaluation included in its time. Every rival has that much processor time in
all (one thread), the same start, batches and validation rows:

``l2 grid``             8 values of λ in 1e-3 … 1e2, trained in one batched loop, each stopped at its best validation loss
``l1 grid``             8 values in 3e-2 … 1e2, at rates of 4e-3, of 1e-2 and of ours, which goes by rows and columns
``one network``         no penalty, stopped at its best validation loss
``TPE``                 Optuna, 8 trials of norm, λ and learning rate, where it is installed
``boosted trees``       scikit-learn's defaults, for information: its time is not ours

``averaged`` is ours with nine members averaged by ``nd.average``, beside the l1 grids with their eight averaged by the same
rule; ``starts, averaged`` three starts at five λ, trained directly under ``l1`` in one run of half as many epochs, averaged, in
a time of its own. Log loss, or RMSE of standardised targets. One process does everything in turn; results of a problem and
seed are kept in ``runs/benchmarks/worth``.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, mean_squared_error

import netdial as nd
from benchmarks.common.problems import PROBLEMS, Problem, is_there, problem, start
from benchmarks.common.result import Result
from benchmarks.worth._rivals import Chosen, average_of, best_of, grid, losses, trained
from netdial.core.best import MEAN
from netdial.jobs.pool import make_all
from netdial.measure import evaluate
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.train.config import make_config
from netdial.train.schedules import usual_rate

_SEEDS, _QUICK_EPOCHS = 5, 20
_STORE = Store(Path("runs/benchmarks/worth"))
_L2 = [10 ** (-3 + 5 * i / 7) for i in range(8)]
_L1 = [0.03 * (100 / 0.03) ** (i / 7) for i in range(8)]
_TRIALS = 8


@dataclass(frozen=True)
class Compared(Cell):
    """All contenders on one problem from one seed."""

    problem: str
    seed: int
    epochs: int | None = None

    @property
    def label(self) -> str:
        """Words for people."""
        length = "" if self.epochs is None else f" {self.epochs} epochs"
        return f"{self.problem}{length} seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, dict[str, float]]:
        """Returns loss on test data and processor time of each contender."""
        data = problem(self.problem, self.seed)
        epochs, batch_size = _lengths(data, self.epochs)
        _family(data, self.seed, 1)  # nothing that is loaded at the first call is counted
        found = {"ours": _family(data, self.seed, epochs)}
        found["averaged"] = _averaged(data, self.seed, epochs)
        found["starts, averaged"] = _starts(data, self.seed, max(1, epochs // 2))
        budget = found["ours"]["seconds"]
        net = start(data, self.seed)
        common: dict[str, Any] = {"seed": self.seed, "batch_size": batch_size}
        made = {
            "l2 grid": grid(data, net, budget, norm="l2", lams=_L2, lr=4e-3, **common),
            "one network": grid(data, net, budget, norm="l2", lams=[0.0], lr=4e-3, **common),
        }
        for name, lr in _rates(data).items():
            nets = trained(data, net, budget, norm="l1", lams=_L1, lr=lr, **common)
            made[name] = best_of(data, nets, _L1)
            found[f"{name}, averaged"] = {"loss": average_of(data, nets), "seconds": nets.seconds}
        if (tuned := _tuned(data, net, budget, common)) is not None:
            made["TPE"] = tuned
        found |= {
            name: {"loss": one.test, "seconds": one.seconds, "steps": float(one.steps)}
            for name, one in made.items()
        }
        return found | {"boosted trees": _trees(data)}


def measure(*, quick: bool = False) -> Result:
    """Returns the excess of the rivals' test loss over ours, in per cent, mean over problems."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else _SEEDS)
    names = [name for name in PROBLEMS if is_there(name)]
    names = names[3:5] + names[7:8] if quick else names
    epochs = _QUICK_EPOCHS if quick else None
    cells = {name: [Compared(name, seed, epochs) for seed in seeds] for name in names}
    by_seed = [cell for ones in zip(*cells.values(), strict=True) for cell in ones]
    make_all(by_seed, _STORE, workers=1, report=print)
    found = {name: [_STORE.read(cell) for cell in ones] for name, ones in cells.items()}
    contenders = list(dict.fromkeys(who for ones in found.values() for who in ones[0]))
    rivals = [who for who in contenders if who != "ours"]
    excess = {
        who: [_excess(ones, who)[0] for ones in found.values() if who in ones[0]] for who in rivals
    }
    return Result(
        "worth",
        {who: statistics.fmean(values) for who, values in excess.items()},
        "% above our test loss, mean over problems",
        "higher",
        seeds=list(seeds),
        quick=quick,
        baseline="'ours', see above; rivals that are networks have its processor time in all",
        spread={who: (min(values), max(values)) for who, values in excess.items()},
        rows=[_row(name, ones, contenders) for name, ones in found.items()]
        + [_times(found, contenders), _worse(found, contenders)],
    )


def _lengths(data: Problem, epochs: int | None) -> tuple[int, int]:
    """Returns epochs and batch size of our family: the library's own, where no epochs are given."""
    config = make_config(epochs=epochs).for_rows(len(data.train))
    return config.known_epochs, config.known_batch_size


def _rates(data: Problem) -> dict[str, float]:
    """Returns the learning rates of grids under L1 by name."""
    ours = usual_rate(len(data.train), data.n_columns)
    return {"l1 grid": 4e-3, "l1 grid, rate 1e-2": 1e-2, "l1 grid, our rate": ours}


def _averaged(data: Problem, seed: int, epochs: int) -> dict[str, float]:
    """Returns the test loss of an average of our family's members, and the processor time of training and weighing."""
    started = time.process_time()
    family = _trained(data, seed, epochs)
    return _scored(data, nd.average(family, data.valid, lams=9), time.process_time() - started)


def _starts(data: Problem, seed: int, epochs: int) -> dict[str, float]:
    """Returns the same of networks from three starts at five λ, trained directly in one run."""
    started = time.process_time()
    nets = [start(data, 3 * seed + i) for i in range(3)]
    lams = [10 ** (-2 + 3 * i / 4) for i in range(5)]
    families = nd.fit_direct(nets, data.train, lams=lams, kind=data.kind, epochs=epochs, seed=seed)
    made = nd.average(families, data.valid, lams=lams)
    return _scored(data, made, time.process_time() - started)


def _scored(data: Problem, net: torch.nn.Module, seconds: float) -> dict[str, float]:
    x = data.test.inputs(torch.arange(len(data.test)))
    with torch.no_grad():
        loss = float(losses(data, net(x)[None], data.test.y)[0])
    return {"loss": loss, "seconds": seconds}


def _trained(data: Problem, seed: int, epochs: int) -> nd.Family:
    net = start(data, seed)
    return nd.fit(net, data.train, kind=data.kind, compiled=True, epochs=epochs, seed=seed)


def _family(data: Problem, seed: int, epochs: int) -> dict[str, float]:
    """Returns the test loss of the member that validation chooses, and the processor time of training and choice."""
    started = time.process_time()
    family = _trained(data, seed, epochs)
    metric = "nll" if data.kind == "classification" else "rmse"
    known = evaluate(family, data.valid, lams=21, n_samples=0, metric=metric)
    member, _ = known.choose("best", [MEAN])
    seconds = time.process_time() - started
    x = data.test.inputs(torch.arange(len(data.test)))
    with torch.no_grad():
        outputs = family(x, lam=member.lam)[None]
    loss = float(losses(data, outputs, data.test.y)[0])
    return {"loss": loss, "seconds": seconds, "lam": member.lam, "epochs": float(epochs)}


def _tuned(
    data: Problem, net: torch.nn.Module, seconds: float, common: dict[str, Any]
) -> Chosen | None:
    """Returns the best of Optuna's trials; None where it is not installed."""
    try:
        optuna: Any = import_module("optuna")
    except ImportError:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made: list[Chosen] = []

    def trial(one: Any) -> float:
        norm = one.suggest_categorical("norm", ["l1", "l2"])
        lam, lr = (
            one.suggest_float("lam", 1e-3, 1e2, log=True),
            one.suggest_float("lr", 1e-3, 3e-2, log=True),
        )
        made.append(grid(data, net, seconds / _TRIALS, norm=norm, lams=[lam], lr=lr, **common))
        return made[-1].valid

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=common["seed"]))
    study.optimize(trial, n_trials=_TRIALS)
    best = min(made, key=lambda one: one.valid)
    return Chosen(best.valid, best.test, best.lam, best.steps, sum(one.seconds for one in made))


def _trees(data: Problem) -> dict[str, float]:
    """Returns the test loss of gradient-boosted trees with scikit-learn's defaults, trained on training rows alone."""
    started = time.process_time()
    x = {part: getattr(data, part) for part in ("train", "test")}
    inputs = {
        name: part.inputs(torch.arange(len(part))).flatten(1).numpy() for name, part in x.items()
    }
    y = {name: part.y.numpy() for name, part in x.items()}
    if data.kind == "classification":
        trees = HistGradientBoostingClassifier(random_state=0).fit(inputs["train"], y["train"])
        seen = list(trees.classes_)
        guess = torch.full((len(y["test"]), data.n_outputs), 1e-6).numpy()
        guess[:, seen] = trees.predict_proba(inputs["test"])
        guess = guess / guess.sum(1, keepdims=True)
        loss = float(log_loss(y["test"], guess, labels=list(range(data.n_outputs))))
    else:
        errors = [
            mean_squared_error(
                y["test"][:, i],
                HistGradientBoostingRegressor(random_state=0)
                .fit(inputs["train"], y["train"][:, i])
                .predict(inputs["test"]),
            )
            for i in range(data.n_outputs)
        ]
        loss = math.sqrt(statistics.fmean(errors))
    return {"loss": loss, "seconds": time.process_time() - started}


def _excess(ones: list[dict[str, dict[str, float]]], who: str) -> tuple[float, float]:
    """Returns the excess of a contender's mean loss over ours in per cent, and the standard error of the pairs."""
    ours = [one["ours"]["loss"] for one in ones]
    gaps = [one[who]["loss"] - own for one, own in zip(ones, ours, strict=True)]
    mean = statistics.fmean(ours)
    error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
    return 100 * statistics.fmean(gaps) / mean, 100 * error / mean


def _row(name: str, ones: list[dict[str, dict[str, float]]], who: list[str]) -> dict[str, object]:
    shown: dict[str, object] = {"problem": name}
    shown["ours"] = round(statistics.fmean(one["ours"]["loss"] for one in ones), 4)
    lams = [one["ours"]["lam"] for one in ones]
    shown["λ"] = f"{min(lams):.2g}…{max(lams):.2g}"
    for rival in who[1:]:
        if rival in ones[0]:
            mean, error = _excess(ones, rival)
            shown[rival] = f"{mean:+.1f}" + ("" if math.isnan(error) else f" ± {error:.1f}")
    return shown


def _times(
    found: Mapping[str, list[dict[str, dict[str, float]]]], who: list[str]
) -> dict[str, object]:
    """Returns the row of processor times, ours being 1."""
    shown: dict[str, object] = {"problem": "processor time, ours = 1"}
    every = [one for ones in found.values() for one in ones]
    shown["ours"] = f"{statistics.fmean(one['ours']['seconds'] for one in every):.2f} s"
    for rival in who[1:]:
        ratios = [one[rival]["seconds"] / one["ours"]["seconds"] for one in every if rival in one]
        shown[rival] = f"{statistics.median(ratios):.2f}"
    return shown


def _worse(
    found: Mapping[str, list[dict[str, dict[str, float]]]], who: list[str]
) -> dict[str, object]:
    """Returns the row of counts: problems on which a contender is better than ours by more than a standard error."""
    shown: dict[str, object] = {"problem": "better than ours beyond 1 s.e., of problems"}
    for rival in who[1:]:
        pairs = [_excess(ones, rival) for ones in found.values() if rival in ones[0]]
        shown[rival] = f"{sum(mean < -error for mean, error in pairs)} of {len(pairs)}"
    return shown
