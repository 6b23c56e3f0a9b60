"""Regret: how much worse a network is than the best, and what random search loses at the same cost, in closed form.

Of N networks in an order from good to bad, n are drawn without repetition. The first of them in that order is the one at
place i with probability C(N - 1 - i, n - 1) / C(N, n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from netdial.core.errors import ConfigError


def random_search_regret(order: Sequence[int], loss: Sequence[float], n: int) -> float:
    """Returns the expected regret of the first of n networks drawn without repetition.

    Args:
        order: networks from the one that random search likes best to the one that it likes least: by what it sees, which is
            not what counts.
        loss: what counts, by network; lower is better.
        n: how many it draws; at least all of them is an exhaustive search.

    Raises:
        ConfigError: n is below 1.

    >>> round(random_search_regret([2, 0, 1], [1.0, 4.0, 0.0], 1), 6)
    1.666667
    >>> random_search_regret([2, 0, 1], [1.0, 4.0, 0.0], 3)
    0.0
    """
    best = min(loss)
    chances = first_places(len(order), n)
    return sum(p * (loss[network] - best) for p, network in zip(chances, order, strict=True))


def first_places(count: int, n: int) -> list[float]:
    """Returns the probability of each place in an order to be the first of n that are drawn without repetition.

    Raises:
        ConfigError: n is below 1.

    >>> first_places(4, 2)
    [0.5, 0.3333333333333333, 0.16666666666666666, 0.0]
    """
    if n < 1:
        raise ConfigError(f"n={n}; random search draws one network at least")
    n = min(n, count)
    ways = math.comb(count, n)
    return [math.comb(count - 1 - place, n - 1) / ways for place in range(count)]


def median_regret(orders: Sequence[Sequence[int]], loss: Sequence[float], n: int) -> float:
    """Returns the median regret of random search over its draws and over several orders, each as likely as the others."""
    best, total = min(loss), 0.0
    chances = first_places(len(orders[0]), n)
    found = sorted(
        (loss[network] - best, p / len(orders))
        for order in orders
        for network, p in zip(order, chances, strict=True)
    )
    for regret, chance in found:
        total += chance
        if total >= 0.5:
            return regret
    return found[-1][0]


def expected_regret(order: Sequence[int], loss: Sequence[float], n: float) -> float:
    """Returns ``random_search_regret`` at a cost of n trainings that need not be a whole number, between its neighbours."""
    low = math.floor(n)
    here = random_search_regret(order, loss, low)
    return here + (n - low) * (random_search_regret(order, loss, low + 1) - here)


def best_of(loss: Sequence[float]) -> list[int]:
    """Returns networks from the one of least loss on; of equal ones the first comes first."""
    return sorted(range(len(loss)), key=lambda network: loss[network])
