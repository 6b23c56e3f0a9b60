"""The model card of a chosen member: what it is, what it costs and is worth, how it was chosen.

A page in Markdown with metadata in its head (YAML), as the Hugging Face hub reads them: ``library_name``, ``tags``, and
metrics in the form of a ``model-index``. Values are written as JSON, which YAML contains, so nothing in a name can break it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from netdial.choice.table import Candidate
from netdial.core.best import PREDICTIVE, four_places
from netdial.measure.cost import Cost

_USE = """```python
import netdial as nd

net = nd.load_model("path/to/this/folder")  # net=... if the network is your own
```"""


@dataclass(frozen=True)
class Facts:
    """What a card tells.

    Attributes:
        data: name of the data.
        task: name of the task.
        ndim: dimensions of the inputs with the batch; 2 for tables, 4 for images.
        metric: metric that members were compared by.
        row: the member.
        whole: costs of the network that it was cut from.
        criterion: what was removed first.
        refit: whether what is left was refit.
        why: how it was chosen.
        steps: what was done with it afterwards.
        error: standard error of its value.
        n: validation examples.
        constant: metrics of a constant prediction on them.
        using: what predicts better on them, ``mean weights`` or ``predictive``.
        average: metrics of the predictive on them.
        remarks: what should be known about the choice.
        test: metrics on test data, if they were looked at.
    """

    data: str
    task: str
    ndim: int
    metric: str
    row: Candidate
    whole: Cost
    criterion: str
    refit: bool
    why: str
    steps: tuple[str, ...]
    error: float
    n: int
    constant: dict[str, float]
    using: str
    average: dict[str, float]
    remarks: tuple[str, ...]
    test: dict[str, float]


def card_of(facts: Facts) -> str:
    """Returns the text of the card."""
    row = facts.row
    name = f"{facts.data}, λ = {row.lam:.4g}, {row.share:.4g} removed"
    body = [
        f"# {name}",
        "One member of a family of networks indexed by a complexity value λ, trained in one run with netdial.",
        _table(facts),
        "## How it was chosen",
        facts.why + "".join(f" Afterwards it was {step}." for step in facts.steps),
        *([" ".join(facts.remarks)] if facts.remarks else []),
        _on_test(facts),
        "## Use",
        *_how_to_predict(facts),
        _USE,
    ]
    return _head(name, facts) + "\n\n".join(body) + "\n"


def _head(name: str, facts: Facts) -> str:
    """Returns the metadata between two lines of dashes."""
    metric = facts.metric
    task = {2: "tabular-", 4: "image-"}.get(facts.ndim, "") + facts.task
    measured = {metric: facts.row.value, "accuracy": facts.row.accuracy}
    values = [("validation", name, value) for name, value in measured.items()]
    values += [("test", name, facts.test[name]) for name in measured if name in facts.test]
    results = [
        {
            "task": {"type": task, "name": task.replace("-", " ")},
            "dataset": {"name": facts.data, "type": facts.data, "split": split},
            "metrics": [{"type": name, "name": f"{split} {name}", "value": value}],
        }
        for split, name, value in values
        if not math.isnan(value)
    ]
    head = {
        "library_name": "netdial",
        "tags": ["netdial", "model-selection", "pruning", facts.task],
        "model-index": [{"name": name, "results": results}],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def _table(facts: Facts) -> str:
    """Returns the table of facts."""
    row, whole = facts.row, facts.whole
    removed = f"{row.share:.4g} of the removable numbers, by {facts.criterion}"
    rows = {
        "data": facts.data,
        "λ": f"{row.lam:.6g}",
        "share removed": removed + ("; layers refit" if facts.refit and row.share else ""),
        "parameters": f"{row.params} of {whole.params} are not zero",
        "stored": f"{row.bytes} bytes (dense: {whole.bytes})",
        "MACs for one example": f"{row.macs} with a weight that is not zero (dense: {whole.macs})",
    }
    if row.epochs:
        rows["fine-tuned"] = f"{row.epochs} epoch(s) after every step of pruning"
    if not math.isnan(row.latency_ms):
        rows["latency for one example"] = f"{row.latency_ms:.4g} ms, dense, measured when chosen"
    if facts.n:
        rows[f"validation {facts.metric}"] = (
            f"{four_places(row.value)} ± {four_places(facts.error)} (standard error over {facts.n} examples)"
        )
        others = {n: v for n, v in row.metrics.items() if n != facts.metric}
        rows |= {f"validation {name}": four_places(value) for name, value in others.items()}
        rows["a constant, on the same examples"] = ", ".join(
            f"{name} {four_places(value)}"
            for name, value in facts.constant.items()
            if name in row.metrics
        )
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {text} |" for key, text in rows.items())])


def _how_to_predict(facts: Facts) -> list[str]:
    """Returns what to predict with, where the exported network is not the better way."""
    if facts.using != PREDICTIVE:
        return []
    return [
        "The network here has the mean weights. Averaged over its posterior the member predicts better: validation "
        f"{facts.metric} {four_places(facts.average[facts.metric])} (`choice.predict` does that)."
    ]


def _on_test(facts: Facts) -> str:
    test, metric = facts.test, facts.metric
    if not test:
        return "The test data were not looked at."
    accuracy = f" (accuracy {four_places(test['accuracy'])})" if "accuracy" in test else ""
    return (
        f"The test data were looked at once, after everything had been decided: {metric} {four_places(test[metric])} "
        f"± {four_places(test['error'])}{accuracy} over {test['n']:.0f} examples."
    )
