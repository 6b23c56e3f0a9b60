"""Training: one loop, one method, feeds, checkpoints."""

from netdial.train.config import FitConfig, make_config
from netdial.train.feed import Feed, LoaderFeed, TensorFeed
from netdial.train.loop import Epoch, Interrupted, resume, train
from netdial.train.method import FamilyMethod, State, Workers

__all__ = [
    "Epoch",
    "FamilyMethod",
    "Feed",
    "FitConfig",
    "Interrupted",
    "LoaderFeed",
    "State",
    "TensorFeed",
    "Workers",
    "make_config",
    "resume",
    "train",
]
