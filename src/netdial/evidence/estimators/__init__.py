"""Estimators of evidence; importing this package registers all of them."""

from netdial.evidence.estimators import (  # noqa: F401
    bounds,
    curved,
    information,
    mdl,
    pac_bayes,
    thermodynamic,
)
