"""Ready search spaces, by name."""

from netdial.structure.formulas import trees as trees  # spaces register themselves
from netdial.structure.spaces import cells as cells
from netdial.structure.spaces import lecture as lecture
from netdial.structure.spaces import mlp as mlp
from netdial.structure.spaces.registry import SPACES, from_recipe, ready_space

__all__ = ["SPACES", "from_recipe", "ready_space"]
