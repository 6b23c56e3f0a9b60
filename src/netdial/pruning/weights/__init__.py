"""Pruning of single weights: removes the least important weights of members, and measures what is left.

``prune`` removes a share of one member's weights, ``surface`` measures all complexity values and shares at once,
``retrain`` prunes and trains in rounds, ``importance`` ranks the weights for all of them. Criteria are functions in
``CRITERIA``.
"""

from netdial.pruning.weights import second_order as second_order  # its criteria register themselves
from netdial.pruning.weights.criteria import CRITERIA, Subject, importance
from netdial.pruning.weights.mask import Policy, masks, removable, share_below
from netdial.pruning.weights.pruned import prune
from netdial.pruning.weights.rounds import Round, retrain
from netdial.pruning.weights.surfaces import SHARES, Best, Surface, surface

__all__ = [
    "CRITERIA",
    "SHARES",
    "Best",
    "Policy",
    "Round",
    "Subject",
    "Surface",
    "importance",
    "masks",
    "prune",
    "removable",
    "retrain",
    "share_below",
    "surface",
]
