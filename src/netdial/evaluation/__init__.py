"""Evaluation: what each member of a family is worth."""

from netdial.evaluation.path import Member, Path, evaluate, outputs, predictive, recalibrate

__all__ = ["Member", "Path", "evaluate", "outputs", "predictive", "recalibrate"]
