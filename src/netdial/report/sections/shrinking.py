"""What the page of a network that shrank tells: the answer, tiles, tables of layers and costs, and the log of collections.

Made from the records of a run of ``netdial shrink`` and its log ``kills.jsonl``. Start and end are the network as it was given
and the folded network that is left, written as the command line writes them; milliseconds are measured, all else is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from netdial.core.records import Event, Record
from netdial.report.panels import COLOURS
from netdial.report.sections.compress import compression_section
from netdial.report.sections.shrinking_figures import (
    FEW_LAYERS,
    TimeAxis,
    cost_figure,
    evolution_figure,
    layer_colours,
    learning_figure,
    size_figure,
)
from netdial.report.sections.size_dial import size_dial_of
from netdial.report.standing.of_shrunk import shrunk_standing
from netdial.report.standing.of_unfinished import unfinished_standing
from netdial.report.text import (
    _sizes,
    at_lam,
    count,
    epochs_words,
    fixed,
    in_units,
    number,
    percent,
    training_words,
    units_sentence,
)
from netdial.runs.curves import metrics_of, rivals
from netdial.runs.run import Run
from netdial.runs.shrinkage import KILLS, Shrinkage, events, restored, shrinkage

OPEN_LOG = 12
"""Collections up to which the log is shown unfolded."""
LONGEST_LOG = 1000
"""Collections on the page; the file and the download hold all."""
_SHOWN_CHANNELS = 6
_NAMES = {
    "params": "parameters",
    "macs": "MACs, one example",
    "bytes": "bytes",
}


@dataclass(frozen=True)
class Collected:
    """One collection in the log, as text.

    Attributes:
        when: epoch, with the step.
        layers: (layer, how many went, which) of each layer that lost channels.
        rule, lam, folded, difference, seconds: what the log says of all of them together.
    """

    when: str
    layers: list[tuple[str, str, str]]
    rule: str
    lam: str
    folded: str
    difference: str
    seconds: str


def shrinking_page(run: Run, records: Sequence[Record]) -> dict[str, Any]:
    """Returns what ``shrinking.html.j2`` names.

    Args:
        run: the run folder; its log of collections is read.
        records: what was recorded.

    Raises:
        CheckpointError: the log is damaged.
    """
    found, log = shrinkage(records), events(run.path)
    clock, metric = TimeAxis.of(found), _metric(run.config)
    stands = shrunk_standing(found, run.config, rivals(records), run.name)
    if stands is None:
        sizes = [{"params": size} for size in found.parameters or ()]
        stands = unfinished_standing(run, records, *reversed(sizes))
    compression = compression_section(records, run.config)
    return {
        "sentence": about(run.config, done=run.is_done),
        "lead": lead(found, run.config),
        "tiles": stands.tiles(),
        "notes": notes(run, found, log),
        "compression": compression,
        "figures": {
            "widths": evolution_figure(found, log, clock),
            "size": size_figure(found, metric, clock),
            "cost": cost_figure(found, log, clock),
            "training": learning_figure(found, clock),
            **(compression.figures if compression else {}),
        },
        "colours": list(layer_colours(found).items()),
        "line_colours": COLOURS,
        "many": len(found.widths) > FEW_LAYERS,
        "layers": layer_rows(found),
        "costs": cost_rows(found),
        "size_dial": size_dial_of(found, metric, clock),
        "folding": _folding(found.fold_difference),
        "log": log_rows(log[:LONGEST_LOG], clock),
        "log_open": len(log) <= OPEN_LOG,
        "log_words": _log_words(log),
        "refused": refusals(log, clock),
        "data": {"collections": [asdict(event) for event in log]},
    }


def about(config: dict[str, Any], *, done: bool = True) -> str:
    """Returns what was trained on what, in one sentence; what the configuration does not say is left out."""
    which = f"one {config.get('model', '')} network".replace("  ", " ")
    parts = [f"{training_words(done=done)} {which}"]
    if "data" in config:
        parts.append(f"on {config['data']}{_sizes(config)}")
    if "epochs" in config:
        parts.append(epochs_words(config["epochs"]))
    parts.append("while it shrank")
    if config.get("size"):
        parts.append(f"towards {config['size']}")
    elif isinstance(config.get("lam"), int | float):
        parts.append(f"under a penalty of {at_lam(config['lam'])} on its channels")
    return " ".join(parts) + "." + units_sentence(config)


def lead(found: Shrinkage, config: dict[str, Any]) -> str:
    """Returns the answer: from how large to how small, and what the network is worth."""
    sizes = found.parameters
    if sizes is None:
        return "Nothing has been measured yet."
    start, end = sizes
    done = bool(found.end)
    who = "The network" if done else "So far the network"
    if start == end:
        what = f"{who} {'kept' if done else 'keeps'} all its {count(start)} parameters"
    else:
        times = f" ({number(start / max(end, 1e-12))} times smaller)" if start > end else ""
        what = f"{who} {'shrank' if done else 'has shrunk'} from {count(start)} to {count(end)} parameters{times}"
    return f"{what}{_worth(found, _metric(config))}."


def notes(run: Run, found: Shrinkage, log: Sequence[Event]) -> list[str]:
    """Returns what a reader should know is missing or unusual."""
    said = []
    last = found.steps[-1] if found.steps else 0
    if not run.is_done:
        said.append(
            f"Training has not finished: the records reach step {last}. Go on with --resume."
        )
    elif not found.end:
        said.append("What the network costs at the end was not recorded.")
    if not found.scores:
        said.append("The folded network has not been evaluated.")
    narrower = [n for n, line in found.widths.items() if line[-1] < line[0]]
    if narrower and not log:
        said.append(f"{KILLS} is missing, so it is not known which channels went, and why.")
    if run.is_done and found.widths and not narrower:
        said.append("No channel was removed: raise lam, or ask for a size.")
    if found.is_worse_than_constant(f"valid/{metrics_of(run.config)[1]}"):
        said.append(
            "The network predicts validation data worse than a constant; lower lam, ask for a larger size, or train longer."
        )
    if whose := restored(found.epoch, run.config):
        said.append(f"{whose} It chose them, so it is a little too good there.")
    if exhausted := found.exhausted(run.config):
        said.append(exhausted)
    if above := found.above(run.config):
        said.append(above)
    slower = [
        str(batch)
        for batch, key in _times(found).items()
        if key in found.start and found.end.get(key, 0.0) >= found.start[key]
    ]
    start, end = found.parameters or (0.0, 0.0)
    if slower and end < start:
        said.append(
            f"Measured at a batch of {' and of '.join(slower)}, the small network is not faster; a small network often "
            "spends its time on calling operations, not on arithmetic."
        )
    values = [value for line in found.course.values() for value in line[1:]]
    if any(not math.isfinite(value) for value in values):
        said.append("Some values are missing or not finite; they are left out of the curves.")
    return said


def layer_rows(found: Shrinkage) -> list[tuple[str, str, str, str, float]]:
    """Returns layer, channels at the start and at the end, share left as text and in percent of a bar."""
    return [
        (name, count(line[0]), count(line[-1]), percent(line[-1] / line[0]), _bar(line))
        for name, line in found.widths.items()
        if line[0]
    ]


def cost_rows(found: Shrinkage) -> list[tuple[str, str, str, str]]:
    """Returns what it is, start, end and how many times smaller, as text."""
    times = {key: f"measured time, batch of {b}, ms" for b, key in _times(found).items()}
    rows = []
    for key, title in {**_NAMES, **times}.items():
        if key in found.start and key in found.end:
            show = fixed if key in times else count
            ratio = number(found.start[key] / max(found.end[key], 1e-12), 3)
            rows.append((title, show(found.start[key]), show(found.end[key]), ratio))
    return rows


def log_rows(log: Iterable[Event], clock: TimeAxis) -> list[Collected]:
    """Returns the log of collections as text."""
    return [
        Collected(
            _when(event.step, clock),
            [(name, count(len(gone)), channels(gone)) for name, gone in event.gone.items()],
            event.rule,
            number(event.lam),
            ", ".join(f"{count(n)} into {bias}" for bias, n in event.folded.items()) or "none",
            number(event.difference, 2),
            fixed(event.seconds),
        )
        for event in log
    ]


def refusals(log: Iterable[Event], clock: TimeAxis) -> list[tuple[str, str, str, str]]:
    """Returns layer, why channels stayed (the last reason), how often, and when last; one row a layer."""
    times: dict[str, int] = {}
    last: dict[str, tuple[str, int]] = {}
    for event in log:
        for name, why in event.refused.items():
            times[name] = times.get(name, 0) + 1
            last[name] = (why, event.step)
    return [
        (name, why, count(times[name]), _when(step, clock)) for name, (why, step) in last.items()
    ]


def channels(numbers: Sequence[int]) -> str:
    """Returns channel numbers with ranges joined, shortened when there are many.

    >>> channels([0, 1, 2, 7]), channels([1, 3, 5, 7, 9, 11, 13, 20, 21])
    ('0–2, 7', '1, 3, 5, 7, 9, 11, … 3 more')
    """
    runs: list[list[int]] = []
    for at in sorted(numbers):
        if runs and at == runs[-1][-1] + 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    shown, rest = runs[:_SHOWN_CHANNELS], runs[_SHOWN_CHANNELS:]
    words = [str(one[0]) if len(one) == 1 else f"{one[0]}–{one[-1]}" for one in shown]
    more = sum(len(one) for one in rest)
    return ", ".join([*words, f"… {count(more)} more"] if more else words)


def _log_words(log: Sequence[Event]) -> str:
    """Returns how many collections there were, and how many channels went in all."""
    gone = sum(len(numbers) for event in log for numbers in event.gone.values())
    words = [
        f"{count(n)} {one}{'s' if n != 1 else ''}"
        for n, one in ((len(log), "collection"), (gone, "channel"))
    ]
    more = f"; the first {count(LONGEST_LOG)} are shown" if len(log) > LONGEST_LOG else ""
    return ", ".join(words) + more


def _metric(config: dict[str, Any]) -> str:
    return f"valid/{metrics_of(config)[0]}"


def _worth(found: Shrinkage, metric: str) -> str:
    """Returns what the network is worth on validation data, as the end of a sentence."""
    value = found.scores.get(metric)
    along = [v for v in found.course.get(metric, ()) if math.isfinite(v)]
    if value is None and along:
        value = along[-1]
    if value is None:
        return ""
    if metric == "valid/rmse":
        return f" and predicts validation data with an RMSE of {in_units(value)}"
    return f" and gets {percent(value)} of validation data right"


def _folding(difference: float | None) -> str:
    """Returns what folding did to the outputs, in a sentence."""
    if difference is None:
        return ""
    if difference == 0:
        return "Folding did not change any output."
    return f"Folding changed the outputs by at most {number(difference, 2)} of the largest."


def _times(found: Shrinkage) -> dict[int, str]:
    """Returns the name of the measured time of each batch among the costs."""
    return {batch: f"ms_{batch}" for batch in found.batches}


def _bar(line: Sequence[float]) -> float:
    share = line[-1] / line[0]
    return round(100 * min(max(share, 0.0), 1.0), 1) if math.isfinite(share) else 0.0


def _when(step: int, clock: TimeAxis) -> str:
    """Returns the moment of a step in words."""
    if clock.unit != "epoch":
        return f"step {count(step)}"
    return f"{number(clock.at(step))} · step {count(step)}"
