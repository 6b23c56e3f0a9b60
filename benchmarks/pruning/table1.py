"""MNIST Table 1 of the 2022 paper by the paper's rule: test accuracy of our variational family by the share deleted, in %.

The value is the piecewise family under ``ard`` with our policy: one threshold for all layers, the weights of dead inputs
folded into biases and counted as deleted first. With the paper's policy (the same share of every layer), and for the
paper's own nine implementations, see the rows. The rule takes in every column the maximum over λ and starts of TEST
accuracy: it compares like with like and is no estimate; table1-honest is. Cells are shared with
``netdial reproduce mnist-table1``.
"""

from __future__ import annotations

from benchmarks.common.result import Result
from netdial.papers import perform
from netdial.papers.mnist_table1 import GLOBAL


def measure(*, quick: bool = False) -> Result:
    """Returns the row of our family."""
    found = perform("mnist-table1", quick=quick, report=print)
    labels = [f"{share:.0%}".rstrip("%") for share in found.values["shares"]]
    rows: dict[str, dict[str, list[float]]] = found.values["rows"]
    published: dict[str, list[float]] = found.values["published"]
    variational = [published[letter] for letter in "adg"]
    best = [max(column) for column in zip(*variational, strict=True)]
    return Result(
        "table1",
        dict(zip(labels, rows[GLOBAL]["paper_rule"], strict=True)),
        "test accuracy",
        "higher",
        seeds=tuple(range(found.settings["starts"])),
        quick=quick,
        baseline="best of the paper's three variational rows: "
        + " ".join(f"{x:.4f}" for x in best),
        rows=[
            {"row": label, "source": source, **dict(zip(labels, values, strict=True))}
            for label, row in rows.items()
            for source, values in (("ours", row["paper_rule"]), ("paper", published.get(label)))
            if values is not None
        ],
    )
