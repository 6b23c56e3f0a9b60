"""Tasks: what is predicted, and how it is scored.

``classification`` and ``regression`` are built in, and so are their dense forms; ``Loss`` is a loss function as a task.
"""

from netdial.task.base import Task
from netdial.task.classification import Classification, categorical_nll
from netdial.task.dense import DenseClassification, DenseRegression
from netdial.task.loss import Loss
from netdial.task.metric import Metric
from netdial.task.noise import NoiseCurve
from netdial.task.registry import (
    TASKS,
    deduce,
    is_higher_better,
    metric_names,
    named,
    restore,
    settle,
    task_of,
)
from netdial.task.regression import Regression, gaussian_nll

__all__ = [
    "TASKS",
    "Classification",
    "DenseClassification",
    "DenseRegression",
    "Loss",
    "Metric",
    "NoiseCurve",
    "Regression",
    "Task",
    "categorical_nll",
    "deduce",
    "gaussian_nll",
    "is_higher_better",
    "metric_names",
    "named",
    "restore",
    "settle",
    "task_of",
]
