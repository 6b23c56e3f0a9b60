"""Evaluation: what each member of a family is worth."""

from netdial.measure.path import Member, Path, evaluate, outputs, predictive, recalibrate

__all__ = ["Member", "Path", "evaluate", "outputs", "predictive", "recalibrate"]
