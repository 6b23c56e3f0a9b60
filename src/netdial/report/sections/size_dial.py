"""The size slider of a shrinking run's page: what the network was at the end of each epoch, in the order of training."""

from __future__ import annotations

import math
from typing import Any

from netdial.report.sections.shrinking_figures import TimeAxis
from netdial.runs.curves import finite
from netdial.runs.shrinkage import Shrinkage


def size_dial_of(found: Shrinkage, metric: str, clock: TimeAxis) -> dict[str, Any] | None:
    """Returns what the slider needs, as plain values; None without two moments at which sizes were recorded.

    Args:
        found: what the run recorded.
        metric: record that is shown, such as ``valid/accuracy``.
        clock: what the figures count time in.
    """
    sizes = found.course.get("params", ())
    moments = [k for k, size in enumerate(sizes) if math.isfinite(size)]
    if len(moments) < 2:
        return None

    def line(name: str) -> list[float | None]:
        values = found.course.get(name, ())
        return [finite(values[k]) if k < len(values) else None for k in moments]

    return {
        "unit": clock.unit,
        "times": [clock.at(found.steps[k]) for k in moments],
        "params": [sizes[k] for k in moments],
        "macs": line("macs"),
        "metric": line(metric),
        "format": ".2%" if metric.endswith("/accuracy") else ".4~g",
        "title": "validation accuracy" if metric.endswith("/accuracy") else "validation RMSE",
        "widths": {
            name: [finite(values[k]) for k in moments] for name, values in found.widths.items()
        },
    }
