"""Rules: which member of a table to take, on validation data alone.

``best``      the smallest mean loss; of equals, the one with the fewest numbers left, then the largest λ
``one-se``    the fewest numbers left among those that are no worse than the best by more than one standard error of the
              difference; of equals the largest λ, then the better one
``sparsest``  the fewest numbers left, whatever it is worth: for when a budget already says what it must be worth

The one-standard-error rule is that of Breiman et al., Classification and Regression Trees (1984, §3.4.3): the simplest
model whose estimated error lies within one standard error of the smallest. They take the standard error of the best
model's own estimate. Here every member is measured on the same examples, so the rule takes that of the paired
difference, which is the uncertainty of the comparison itself, and is smaller: what is chosen is nearer to the best.
One example fewer right is always within it; two, with none gained, are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netdial.choice.table import Table

Rule = Callable[[Table, Sequence[int]], int]

_ROUNDING = 1 + 1e-9


def best(table: Table, among: Sequence[int]) -> int:
    """Returns the member of ``among`` with the smallest mean loss."""
    means = table.losses.mean(dim=1).tolist()
    return min(among, key=lambda i: (means[i], table.cells[i].params, -table.cells[i].lam))


def one_se(table: Table, among: Sequence[int]) -> int:
    """Returns the sparsest member of ``among`` that is within one standard error of the best of them."""
    excess, error = table.excess(among, best(table, among))
    close = (excess <= _ROUNDING * error).tolist()
    return sparsest(table, [i for i, near in zip(among, close, strict=True) if near])


def sparsest(table: Table, among: Sequence[int]) -> int:
    """Returns the member of ``among`` with the fewest numbers left."""
    means = table.losses.mean(dim=1).nan_to_num().tolist()
    return min(among, key=lambda i: (table.cells[i].params, -table.cells[i].lam, means[i]))


RULES: dict[str, Rule] = {"best": best, "one-se": one_se, "sparsest": sparsest}
