"""Rivals of a run: what others reach on the very rows that it was trained and judged on, recorded beside what it left."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from netdial.contest import contenders
from netdial.contest.match import CONTENDERS, Guess, Match
from netdial.contest.smaller import SMALLER
from netdial.core.errors import ConfigError, NetdialError, unknown
from netdial.core.records import Record
from netdial.data import Splits
from netdial.jobs.opening import open_family, open_network, open_task
from netdial.jobs.presets import default_model
from netdial.jobs.problem import is_function
from netdial.jobs.ways import way_of
from netdial.measure.compare import excess, terms_of
from netdial.measure.forward import outputs
from netdial.nets import build
from netdial.runs.curves import RIVAL, headline, members
from netdial.runs.run import Run
from netdial.runs.shrinkage import shrinkage

assert contenders.__all__  # they are registered

USUAL = ("linear model", "boosted trees", "one network", "grid of 8")
"""Contenders that are run unless others are named; networks only where the run's own is built by name."""
_LEAST_SECONDS = 2.0
_UNITS = {"nll": "nats/example", "excess": "", "excess_error": ""}

Rival = Callable[[Match], Guess]


def run_rivals(
    run: Run,
    names: Sequence[str] | None = None,
    *,
    seconds: float | None = None,
    data_dir: str | None = None,
    trust: bool = False,
    report: Callable[[str], object] | None = None,
) -> dict[str, dict[str, float]]:
    """Runs rivals on the parts of a run's data, records what they are worth, and returns it: name -> column -> value.

    Each trains on the training part, makes its choices on the validation part, and is measured on the test part once. It is
    compared with what the run left, of a family the member that was chosen, on the same rows: ``valid/excess`` is its loss
    above that of the network by the task's proper loss, and ``valid/excess_error`` the paired standard error.

    Args:
        run: the run, of any way of training.
        names: names in ``CONTENDERS``, and for a network that shrank in ``SMALLER``; by default ``USUAL``, and for such a
            network the first two of it and all of ``SMALLER``.
        seconds: processor time of each; by default as long as the run trained, and at least 2.
        data_dir: folder of data files.
        trust: whether a function that the run folder names as its data may be called.
        report: told of each before it starts.

    Raises:
        ConfigError: a rival is not known, or none of them could be trained.
        CheckpointError: the run is not done, or damaged.
    """
    records = run.records()
    known = _known(run, records)
    chosen = _usual(run) if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in known:
            raise unknown("rival", name, known)
    splits = open_task(run, data_dir, trust=trust)
    match = _match(run, splits, seconds or _spent(records))
    own = {part: _own(run, splits, part, data_dir, trust=trust) for part in ("valid", "test")}
    step = max((record.step for record in records), default=0)
    found, made, failed = dict[str, dict[str, float]](), list[Record](), list[str]()
    for name in chosen:
        if report is not None:
            report(name)
        try:
            known[name](match.small())  # what is loaded at the first call is not counted
            guess = known[name](match)
        except NetdialError as error:
            failed.append(f"{name}: {error}")
            continue
        found[name] = _worth(guess, match, splits, own)
        made += [
            run.row(
                step, metric, value, _UNITS.get(metric, ""), method=RIVAL, rival=name, part=part
            )
            for column, value in found[name].items()
            for part, metric in [column.split("/")]
        ]
    if not found:
        raise ConfigError(f"{run.path}: no rival has a result ({'; '.join(failed)})")
    run.replace(made)
    return found


def _known(run: Run, records: Sequence[Record]) -> dict[str, Rival]:
    """Returns the rivals that a run can have, by name."""
    known = {name: CONTENDERS[name] for name in CONTENDERS}
    size = shrinkage(records).end.get("params") if way_of(run).name == "shrink" else None
    if size is not None:
        known |= {name: _of_size(SMALLER[name], round(size)) for name in SMALLER}
    return known


def _of_size(rival: Callable[[Match, int], Guess], params: int) -> Rival:
    return lambda match: rival(match, params)


def _usual(run: Run) -> list[str]:
    """Returns the rivals that are run unless others are named."""
    networks = not is_function(run.config["data"])
    if way_of(run).name == "shrink":
        return [*USUAL[:2], *(SMALLER if networks else ())]
    return [name for name in USUAL if networks or name in USUAL[:2]]


def _match(run: Run, splits: Splits, seconds: float) -> Match:
    shape, count = splits.input_shape, splits.n_outputs
    model = run.config.get("model") or default_model(run.config["data"])

    def net(seed: int) -> nn.Module:
        return build(model, input_shape=shape, n_outputs=count, seed=seed)

    return Match.of(splits, net, seconds, int(run.config["seed"]))


def _own(
    run: Run, splits: Splits, part: str, data_dir: str | None, *, trust: bool
) -> Tensor | None:
    """Returns the outputs of what a run left on a part of its data; None for a family of which nothing was chosen."""
    if way_of(run).makes_family:
        answer = headline(members(run.records()), run.config)
        if answer is None:
            return None
        net: nn.Module = open_family(run, data_dir, trust=trust).export(answer.chosen.lam)
    else:
        net = open_network(run, data_dir, trust=trust)
    return outputs(net, splits.part(part))


def _worth(
    guess: Guess, match: Match, splits: Splits, own: Mapping[str, Tensor | None]
) -> dict[str, float]:
    """Returns its metrics on validation and test data, not the NLL of a regression, as the law of its errors is not known.

    With them, how much worse it is than what the run left, by the proper loss, and the standard error of that.
    """
    found, task = {}, match.task
    for part in ("valid", "test"):
        data = splits.part(part)
        with torch.no_grad():
            out = guess.outputs(data)
            metrics = task.metrics(out, data.y)
        mine = own[part]
        if mine is not None:
            terms = torch.cat([terms_of(one[None], data.y.cpu(), task) for one in (mine, out)])
            gaps, errors = excess(terms, 0)
            metrics |= {"excess": float(gaps[1]), "excess_error": float(errors[1])}
        for name, value in metrics.items():
            if math.isfinite(value) and not (name == "nll" and task.targets == "numbers"):
                found[f"{part}/{name}"] = value
    return found


def _spent(records: Sequence[Record]) -> float:
    """Returns the seconds that training took."""
    taken = {r.step: r.value for r in records if r.name == "epoch_seconds" and r.method == "train"}
    return max(_LEAST_SECONDS, sum(taken.values()))
