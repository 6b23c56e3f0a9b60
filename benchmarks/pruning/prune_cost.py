"""Wall time of pruning all λ at ten levels with the test set, over that of one pruned member after another (one thread).

A family of MNIST size (784-50-10), λ = 1e-3 … 1e2 (six members), shares 0, 0.1, …, 0.9, accuracy on 10,000 test examples;
the data are normalised once. Three loops stand for the other way:

- ``one at a time``: Algorithm 2 of the 2022 paper for each λ and share by itself, by hand: the member is read off, its weights
  are ranked by relative density, those below the threshold set to 0, and the network runs on the test set;
- ``lean loop``: the same, but a member is read off and ranked once for all its shares, and pruned further in place;
- ``library``: its own functions, one pruned member at a time: ``prune``, ``export``, ``outputs``, ``score``.

The results agree.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.common.mnist import LAMS
from benchmarks.common.result import Result
from benchmarks.common.timing import interleaved
from netdial.core.errors import DataError
from netdial.data import Dataset, load_data
from netdial.family import Family
from netdial.measure import outputs
from netdial.nets import build
from netdial.pruning.weights import prune, surface
from netdial.task import Classification
from netdial.train.fit import fit

SHARES = tuple(level / 10 for level in range(10))
_TRAIN, _TEST = 5_000, 10_000


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio to each of the loops."""
    torch.set_num_threads(1)
    train, test, source = _data()
    net = build("mlp:50", input_shape=(784,), n_outputs=10)
    family = fit(net, train, objective="scaled-kl", regions=5, epochs=3, batch_size=128)
    contenders = {
        "together": lambda: together(family, test),
        "one at a time": lambda: by_hand(family, test, lean=False),
        "lean loop": lambda: by_hand(family, test, lean=True),
        "library": lambda: by_library(family, test),
    }
    worst = max(
        float((by_hand(family, test, lean=lean) - together(family, test)).abs().max())
        for lean in (True, False)
    )
    if worst > 1e-3:
        raise RuntimeError(f"prune-cost: the ways differ by {worst:g}")
    seconds, ratios, reach = interleaved(
        {name: _work(way) for name, way in contenders.items()},
        baseline="together",
        rounds=3 if quick else 11,
    )
    return Result(
        "prune-cost",
        {name: 1 / ratio for name, ratio in ratios.items()},
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline=f"the loop named, {source}; results agree to {worst:.0e}",
        floor="about 0.15: every first-layer weight times every example once, in a sparse product",
        spread={name: (1 / most, 1 / least) for name, (least, most) in reach.items()},
        rows=[{"contender": name, "s": taken} for name, taken in seconds.items()],
    )


def by_hand(family: Family, test: Dataset, *, lean: bool) -> Tensor:
    """Returns accuracy ``[λ, shares]``, one pruned member after another."""
    x, y = test.inputs(), test.y
    found = torch.empty(len(LAMS), len(SHARES))
    with torch.no_grad():
        for member, lam in enumerate(LAMS):
            for place, share in enumerate(SHARES):
                if not lean or place == 0:
                    net = family.export(lam)
                    weights, scores, ordered = _ranked(family, net, lam)
                threshold = ordered[round(share * len(ordered))]
                for weight, each in zip(weights, scores, strict=True):
                    weight.mul_(each >= threshold)
                found[member, place] = (net(x).argmax(dim=1) == y).float().mean()
    return found


def _ranked(
    family: Family, net: nn.Module, lam: float
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Returns the weights of a member, |μ|/σ of each, and all of these in order."""
    names = [name for name in family.layout.names if name.endswith("weight")]
    fields = family.fields_at([lam])
    assert fields.log_std is not None
    ratio = family.layout.split((fields.mean.abs() * (-fields.log_std).exp())[0])
    scores = [ratio[name] for name in names]
    ordered = torch.cat([score.flatten() for score in scores]).sort().values
    return [net.get_parameter(name) for name in names], scores, ordered


def by_library(family: Family, test: Dataset) -> None:
    """Does what ``evaluate`` does for every member at every share, by the library's own functions."""
    for lam in LAMS:
        for share in SHARES:
            net = prune(family, lam, share).export(lam)
            Classification().metrics(outputs(net, test), test.y)


def together(family: Family, test: Dataset) -> Tensor:
    """Returns accuracy ``[λ, shares]``, all at once."""
    return surface(family, test, lams=LAMS, shares=SHARES, metrics=("accuracy",)).metrics[
        "accuracy"
    ]


def _work(measured: Callable[[], object]) -> Callable[[], None]:
    """Returns a measurement as work whose result is not looked at."""

    def work() -> None:
        measured()

    return work


def _data() -> tuple[Dataset, Dataset, str]:
    """Returns some training data, 10,000 test examples, and where they come from; random pictures where MNIST is absent."""
    try:
        task = load_data("mnist", flat=True)
    except DataError:
        source = torch.Generator().manual_seed(0)
        x = (torch.rand(_TRAIN + _TEST, 784, generator=source) * 255).to(torch.uint8)
        y = torch.randint(0, 10, (len(x),), generator=source)
        shift, scale = torch.full((784,), 127.5), torch.full((784,), 1 / 127.5)
        whole = Dataset(x, y, shift, scale)
        first = torch.arange(_TRAIN + _TEST)
        return whole.select(first[:_TRAIN]), whole.select(first[_TRAIN:]), "random pictures"
    return task.train.select(torch.arange(_TRAIN)), task.test, "MNIST"
