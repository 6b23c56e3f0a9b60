"""Training: one loop, one method, feeds, checkpoints."""

from netdial.train.feed import Feed, LoaderFeed, TensorFeed
from netdial.train.loop import Epoch, Interrupted, resume, train
from netdial.train.method import FamilyMethod, State, Workers

__all__ = [
    "Epoch",
    "FamilyMethod",
    "Feed",
    "Interrupted",
    "LoaderFeed",
    "State",
    "TensorFeed",
    "Workers",
    "resume",
    "train",
]
