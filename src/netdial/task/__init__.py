"""Tasks: what is predicted, and how it is scored; ``classification`` and ``regression`` are built in."""

from netdial.task.base import Metric, Task
from netdial.task.classification import Classification, categorical_nll
from netdial.task.noise import NoiseCurve
from netdial.task.registry import TASKS, deduce, metric_names, named, restore, settle
from netdial.task.regression import Regression, gaussian_nll

__all__ = [
    "TASKS",
    "Classification",
    "Metric",
    "NoiseCurve",
    "Regression",
    "Task",
    "categorical_nll",
    "deduce",
    "gaussian_nll",
    "metric_names",
    "named",
    "restore",
    "settle",
]
