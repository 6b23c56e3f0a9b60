"""Evaluation: what each member of a family is worth."""

from netdial.measure.evaluation import evaluate
from netdial.measure.forward import outputs, predictive, recalibrate
from netdial.measure.noise import Intervals, calibrate, intervals
from netdial.measure.path import Member, Path

__all__ = [
    "Intervals",
    "Member",
    "Path",
    "calibrate",
    "evaluate",
    "intervals",
    "outputs",
    "predictive",
    "recalibrate",
]
