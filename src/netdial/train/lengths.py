"""How long training is where nobody says: a rule by the number of training examples. Loads nothing heavy.

A family needs some thousand steps, however few rows there are: 25 passes in batches of 256, which suit 54,000 images, are 25
steps for a table of 200 rows, and leave most of the loss where it was (measured: `docs/experiments.md`).
"""

from __future__ import annotations

_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 4000, 10, 250
_BATCHES = (32, 64, 128, 256)
_PER_BATCH = 50
"""Batches in an epoch up to which batches stay as small as they are."""


def usual_batch_size(n_rows: int) -> int:
    """Returns the usual number of examples in a batch, 32 to 256.

    >>> [usual_batch_size(n) for n in (100, 5_000, 54_000)]
    [32, 128, 256]
    """
    return next((size for size in _BATCHES if n_rows <= _PER_BATCH * size), _BATCHES[-1])


def usual_epochs(steps: int) -> int:
    """Returns the usual number of epochs of so many steps each: 10 to 250, for some 4,000 steps where it can be.

    >>> [usual_epochs(steps) for steps in (4, 20, 211, 1_000)]
    [250, 200, 19, 10]
    """
    return min(max(round(_STEPS / steps), _FEWEST_EPOCHS), _MOST_EPOCHS)
