"""How many members a step makes at once: as many as memory should hold, and what they cost grows evenly beyond.

K members of P numbers take ``K P`` numbers for each of their fields. Up to ``NUMBERS`` they are all made at once; beyond, in
pieces. A piece has at least as many members as the map has pivots, so that what a piece costs beside its members, gradients of
the pivots, is never more than the members themselves, and what it holds is about what the optimiser holds for the pivots
anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

NUMBERS = 1 << 24
"""Numbers of one field, or of the activations, of all members that are made at once: 64 MiB in single precision."""


def at_once(numbers: int, pivots: int, *, activations: int = 0, blocks: int = 1) -> int:
    """Returns how many members should be made at once.

    Args:
        numbers: P.
        pivots: numbers of a map over P.
        activations: numbers that a member's run makes, if members run side by side.
        blocks: blocks of examples in the batch: a network run on the batch holds as many activations.
    """
    most = max(NUMBERS // max(numbers, 1), pivots, 1)
    return min(most, max(NUMBERS // activations, blocks)) if activations else most


def pieces(owners: Sequence[int], most: int) -> Iterator[range]:
    """Yields ranges of members, none longer than ``most``, in each of which every block serves equally many members.

    Pieces are of one length where blocks allow.

    Args:
        owners: for each member, the block of examples that it is trained on; in order.
        most: members of a piece at most.

    >>> list(pieces([0, 1, 2, 3, 4, 5, 6, 7], 6))
    [range(0, 4), range(4, 8)]
    >>> list(pieces([0, 0, 0, 1, 1, 1], 4))
    [range(0, 3), range(3, 6)]
    """
    count = len(owners)
    length = -(-count // -(-count // most))
    start = 0
    while start < count:
        stop = min(start + length, count)
        while not _even(owners[start:stop]):
            stop -= 1
        yield range(start, stop)
        start = stop


def _even(owners: Sequence[int]) -> bool:
    """Returns whether members are shared out evenly among the blocks that they are trained on."""
    first, blocks = owners[0], owners[-1] - owners[0] + 1
    return (
        all(owner - first == place * blocks // len(owners) for place, owner in enumerate(owners))
        and not len(owners) % blocks
    )
