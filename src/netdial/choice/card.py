"""The model card of a chosen member: what it is, what it costs and is worth, how it was chosen.

A page in Markdown with metadata in its head (YAML), as the Hugging Face hub reads them: ``library_name``, ``tags``, and
metrics in the form of a ``model-index``. Values are written as JSON, which YAML contains, so nothing in a name can break it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from netdial.measure.cost import cost
from netdial.pruning.weights.criteria import default_criterion

if TYPE_CHECKING:
    from netdial.choice.choice import Choice

_USE = """```python
import netdial as nd

net = nd.load_model("path/to/this/folder")  # net=... if the network is your own
```"""


def card_of(choice: Choice) -> str:
    """Returns the text of the card."""
    data = choice.problem.data_name or type(choice.family.net).__name__
    name = f"{data}, λ = {choice.lam:.4g}, {choice.share:.4g} removed"
    body = [
        f"# {name}",
        "One member of a family of networks indexed by a complexity value λ, trained in one run with netdial.",
        _facts(choice),
        "## How it was chosen",
        choice.why + "".join(f" Afterwards it was {step}." for step in choice.steps),
        _on_test(choice),
        "## Use",
        _USE,
    ]
    return _head(name, choice) + "\n\n".join(body) + "\n"


def _head(name: str, choice: Choice) -> str:
    """Returns the metadata between two lines of dashes."""
    kind, metric = choice.problem.task.name, choice.table.metric
    task = {2: "tabular-", 4: "image-"}.get(choice.problem.example(choice.family).ndim, "") + kind
    data = choice.problem.data_name or "unnamed"
    values = {"validation": choice.row.value, "test": choice.test.get(metric, math.nan)}
    results = [
        {
            "task": {"type": task, "name": task.replace("-", " ")},
            "dataset": {"name": data, "type": data, "split": split},
            "metrics": [{"type": metric, "name": f"{split} {metric}", "value": value}],
        }
        for split, value in values.items()
        if not math.isnan(value)
    ]
    head = {
        "library_name": "netdial",
        "tags": ["netdial", "model-selection", "pruning", kind],
        "model-index": [{"name": name, "results": results}],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def _facts(choice: Choice) -> str:
    """Returns the table of facts."""
    row = choice.row
    whole = cost(choice.module, choice.problem.example(choice.family), packed=False)
    criterion = choice.problem.pruning.criterion or default_criterion(choice.family)
    rows = {
        "data": choice.problem.data_name or "unnamed",
        "λ": f"{row.lam:.6g}",
        "share removed": f"{row.share:.4g} of the removable numbers, by {criterion}",
        "parameters": f"{row.params} of {whole.params} are not zero",
        "stored": f"{row.bytes} bytes (dense: {whole.bytes})",
        "MACs for one example": f"{row.macs} with a weight that is not zero (dense: {whole.macs})",
    }
    if row.epochs:
        rows["fine-tuned"] = f"{row.epochs} epoch(s) after every step of pruning"
    if not math.isnan(row.latency_ms):
        rows["latency for one example"] = f"{row.latency_ms:.4g} ms, dense, measured when chosen"
    if len(choice.losses):
        rows[f"validation {choice.table.metric}"] = (
            f"{row.value:.4f} ± {choice.error:.4f} (standard error over {len(choice.losses)} examples)"
        )
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {text} |" for key, text in rows.items())])


def _on_test(choice: Choice) -> str:
    test, metric = choice.test, choice.table.metric
    if not test:
        return "The test data were not looked at."
    return (
        f"The test data were looked at once, after everything had been decided: {metric} {test[metric]:.4f} "
        f"± {test['error']:.4f} over {test['n']:.0f} examples."
    )
