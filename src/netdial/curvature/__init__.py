"""Curvature: second derivatives of a network's loss, as diagonals, Kronecker factors or the whole matrix.

The loss is the negative log-likelihood summed over the examples, in nats.
"""

from netdial.curvature.diagonal import diagonal
from netdial.curvature.full import full
from netdial.curvature.gradient import gradient
from netdial.curvature.kronecker import Factors, kronecker

__all__ = ["Factors", "diagonal", "full", "gradient", "kronecker"]
