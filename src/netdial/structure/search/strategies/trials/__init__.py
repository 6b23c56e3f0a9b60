"""Strategies that train structures from fresh weights and learn from what came of them; they register themselves."""

from netdial.structure.search.strategies.trials import evolution as evolution
from netdial.structure.search.strategies.trials import exhaustive as exhaustive
from netdial.structure.search.strategies.trials import halving as halving
from netdial.structure.search.strategies.trials import reinforce as reinforce
