"""Evidence: what the members of a family are worth, judged without validation data."""

from netdial.evidence.assessment import Estimate, assess, chosen, doubts, lowest
from netdial.evidence.checks import Distance, Health, Slope, Spread, health
from netdial.evidence.subject import ESTIMATORS, Estimator, EvidenceSubject, Reading

__all__ = [
    "ESTIMATORS",
    "Distance",
    "Estimate",
    "Estimator",
    "EvidenceSubject",
    "Health",
    "Reading",
    "Slope",
    "Spread",
    "assess",
    "chosen",
    "doubts",
    "health",
    "lowest",
]
