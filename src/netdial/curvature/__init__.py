"""Curvature: second derivatives of a network's loss, as diagonals, Kronecker factors or the whole matrix.

The loss is the negative log-likelihood summed over the examples, in nats.
"""

from netdial.curvature.diagonals import diagonal
from netdial.curvature.factors import Factors, kronecker
from netdial.curvature.gradients import gradient
from netdial.curvature.unlabelled import own_fisher
from netdial.curvature.whole import full

__all__ = ["Factors", "diagonal", "full", "gradient", "kronecker", "own_fisher"]
