"""DNAS: structures drawn from a Gumbel-Softmax distribution that learns on the validation part, in turns with the weights.

Source: Wu et al. 2019 (FBNet). The temperature falls exponentially from one that mixes all operations.
"""

from __future__ import annotations

from typing import ClassVar

from netdial.structure.search.shared.logits import AnnealedStrategy
from netdial.structure.search.strategy import SEARCHES


@SEARCHES.add("dnas")
class Dnas(AnnealedStrategy):
    """A Gumbel-Softmax distribution on each edge, trained in turns with the weights."""

    help: ClassVar[str] = "draw structures from a relaxed distribution, trained on validation data"
