"""Search over structures: strategies by name, and what runs them."""

from netdial.structure.search import strategies as strategies  # they register themselves
from netdial.structure.search.strategy import (
    SEARCHES,
    AlongStrategy,
    Asked,
    GradientStrategy,
    Objective,
    Scope,
    StepContext,
    Strategy,
    TrialStrategy,
    Tried,
    strategy_of,
)

__all__ = [
    "SEARCHES",
    "AlongStrategy",
    "Asked",
    "GradientStrategy",
    "Objective",
    "Scope",
    "StepContext",
    "Strategy",
    "TrialStrategy",
    "Tried",
    "strategy_of",
]
