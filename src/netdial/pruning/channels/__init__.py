"""Structural pruning: removes whole channels of a trained network by a criterion, which leaves a smaller dense network.

``slim`` removes a fraction of the channels or as many as reach a size, ``prune_family`` removes the same channels of all
members of a family, ``retrain_structured`` removes and trains in rounds, ``latency_table`` measures widths.
"""

from netdial.pruning.channels.choosing import Limits
from netdial.pruning.channels.latency import LatencyTable, Rounding, latency_table, round_widths
from netdial.pruning.channels.options import Options
from netdial.pruning.channels.prune import prune_family, slim
from netdial.pruning.channels.reducing import GroupRow, Pruned, shares
from netdial.pruning.channels.retrain import StructuredRound, retrain_structured
from netdial.pruning.channels.scores import WAYS, channel_scores

__all__ = [
    "WAYS",
    "GroupRow",
    "LatencyTable",
    "Limits",
    "Options",
    "Pruned",
    "Rounding",
    "StructuredRound",
    "channel_scores",
    "latency_table",
    "prune_family",
    "retrain_structured",
    "round_widths",
    "shares",
    "slim",
]
