"""PAC-Bayes: a bound of the error rate on new data that holds with probability 1 - δ, from training data alone.

For a prior fixed before the data were seen, and all posteriors q at once (Seeger 2002; Maurer 2004, theorem 5)

    kl(R̂ || R) <= [ KL(q || p) + log(2 √N / δ) ] / N

with R the error rate of a network drawn from q on new examples, R̂ that on the training set and kl(a || b) the divergence
between coins. Solved for R it is the value reported here. Thiemann et al. 2017 (theorem 3) relax it to

    R <= R̂ / (1 - t/2) + [ KL + log(2 √N / δ) ] / (N t (1 - t/2)),   0 < t < 2,

whose best t is closed; it is never tighter, and reported as ``thiemann``.

Stated honestly:
- It speaks of the network *drawn from* the posterior, not of the mean weights.
- K complexity values were looked at, so δ is divided by K (union bound); under ``scaled-prior`` each λ has its own prior
  N(0, α/λ), fixed in advance like the grid. α, the grid, and the architecture must not have been chosen by these data.
- R̂ is estimated by sampling; half of δ pays for that (Chernoff bound over independent blocks of examples).
- Of a pruned member the choice of what is kept is charged too. Parameters shared by all members have no prior, so they are
  refused.
- With the prior re-fitted to the posterior there is no guarantee; that number is reported as ``index`` and proves nothing.
"""

from __future__ import annotations

import math

from netdial.core.errors import ConfigError
from netdial.evidence.estimators.bounds import empirical_kl, mask_nats, refuse_examples
from netdial.evidence.subject import ESTIMATORS, EvidenceSubject, Reading


@ESTIMATORS.add("pac-bayes")
def pac_bayes(subject: EvidenceSubject) -> list[Reading]:
    """Returns bounds of the error rate of networks drawn from each member's posterior; they are certain, so their error is 0.

    Parts: ``empirical`` (R̂), ``upper`` (its bound from sampling), ``thiemann``, ``index``.

    Raises:
        ConfigError: the data are not of classes (the bound needs a bounded loss), or only some examples are looked at.
    """
    refuse_examples(subject, "pac-bayes")
    if "accuracy" not in subject.task.METRICS:
        raise ConfigError(
            f"pac-bayes: bounds the rate of wrong classes, not the error of a {subject.task.name}; use elbo, eb-elbo or waic"
        )
    if any(parameter.requires_grad for parameter in subject.family.shared):
        raise ConfigError(
            "pac-bayes: the family has trained parameters that are the same for every λ (shared) and no divergence is charged "
            "for them, so there is no guarantee; use elbo, eb-elbo or waic"
        )
    seen, n_data = subject.expected, subject.n_data
    half = subject.delta / 2 / len(subject.lams)
    mask = mask_nats(subject.fields)
    divergences = zip(subject.kl.tolist(), empirical_kl(subject.fields).tolist(), strict=True)
    readings = []
    for k, (kl, kl_fitted) in enumerate(divergences):
        kl += mask
        wrong = float(seen.wrong[k])
        budget = math.log(1 / half) / seen.blocks
        upper = min(kl_inverse(seen.fullness * wrong, budget) / seen.fullness, 1.0)
        parts = {
            "empirical": wrong,
            "upper": upper,
            "thiemann": thiemann(upper, kl, n_data, half),
            "index": maurer(upper, kl_fitted, n_data, half),
        }
        value = maurer(upper, kl, n_data, half)
        readings.append(Reading(subject.lams[k], value, 0.0, parts, plain=True))
    return readings


def maurer(risk: float, kl: float, n_data: int, delta: float) -> float:
    """Returns the bound of Maurer 2004 on the risk, solved by ``kl_inverse``."""
    return kl_inverse(risk, (kl + math.log(2 * math.sqrt(n_data) / delta)) / n_data)


def thiemann(risk: float, kl: float, n_data: int, delta: float) -> float:
    """Returns the bound of Thiemann et al. 2017, theorem 3, at its best t, not above 1."""
    charge = kl + math.log(2 * math.sqrt(n_data) / delta)
    t = 2 / (math.sqrt(2 * n_data * risk / charge + 1) + 1)
    return min(risk / (1 - t / 2) + charge / (n_data * t * (1 - t / 2)), 1.0)


def kl_inverse(share: float, budget: float) -> float:
    """Returns the largest b with kl(share || b) <= budget, where kl is the divergence between coins in nats.

    >>> round(kl_inverse(0.0, 0.5), 6), kl_inverse(0.3, 0.0)
    (0.393469, 0.3)
    """
    low, high = share, 1.0
    if budget <= 0:
        return share
    while (middle := (low + high) / 2) not in (low, high):
        if _coin_kl(share, middle) > budget:
            high = middle
        else:
            low = middle
    return low


def _coin_kl(a: float, b: float) -> float:
    """Returns a log(a/b) + (1 - a) log((1 - a)/(1 - b))."""
    first = a * math.log(a / b) if a > 0 else 0.0
    return first + (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else first
