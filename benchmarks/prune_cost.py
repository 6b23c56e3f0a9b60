"""Wall time of pruning all λ at ten levels with the test set, over that of one member after another (one thread).

A family of MNIST size (784-50-10), λ = 1e-3 … 1e2 (six members), shares 0, 0.1, …, 0.9, accuracy on 10,000 test examples. The loop
is what a competent user writes without ``surface``: the data are normalised once, each member is exported once and its weights
ranked once by relative density, then for each share the weights below the threshold are set to 0 in place and the network runs
on the whole test set. Both give the same accuracies.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.mnist import LAMS
from benchmarks.result import Result
from benchmarks.timing import interleaved
from netdial.core.errors import DataError
from netdial.data import Dataset, load
from netdial.family import Family
from netdial.fitting import fit
from netdial.nets import build
from netdial.pruning import surface

SHARES = tuple(level / 10 for level in range(10))
_TRAIN, _TEST = 5_000, 10_000


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio for accuracy alone, and for accuracy and NLL."""
    torch.set_num_threads(1)
    train, test, source = _data()
    net = build("mlp:50", input_shape=(784,), n_outputs=10)
    family = fit(net, train, epochs=3, batch_size=128)
    by_loop, batched = one_by_one(family, test), together(family, test, ("accuracy",))
    worst = float((by_loop - batched).abs().max())
    if worst > 1e-3:
        raise RuntimeError(f"prune-cost: the two ways differ by {worst:g} in accuracy")
    contenders = {
        "one by one": _work(lambda: one_by_one(family, test)),
        "together": _work(lambda: together(family, test, ("accuracy",))),
        "together, with NLL": _work(lambda: together(family, test, ("accuracy", "nll"))),
    }
    seconds, ratios, reach = interleaved(
        contenders, baseline="one by one", rounds=5 if quick else 15
    )
    rows = [
        {"contender": label, "s": taken, "ratio": ratios.get(label, 1.0)}
        for label, taken in seconds.items()
    ]
    return Result(
        "prune-cost",
        {"accuracy": ratios["together"], "accuracy and NLL": ratios["together, with NLL"]},
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline=f"export, rank and prune one member after another, {source}; accuracies agree to {worst:.0e}",
        floor="about 0.15: each of the 6 × 39,200 first-layer weights times each example once, in a sparse product",
        spread={"accuracy": reach["together"], "accuracy and NLL": reach["together, with NLL"]},
        rows=rows,
    )


def one_by_one(family: Family, test: Dataset) -> Tensor:
    """Returns accuracies ``[λ, shares]``, member by member."""
    x, y = test.inputs(), test.y
    found = torch.empty(len(LAMS), len(SHARES))
    with torch.no_grad():
        for row, lam in zip(found, LAMS, strict=True):
            net = family.export(lam)
            weights = [net.get_parameter(n) for n in family.layout.names if n.endswith("weight")]
            fields = family.fields_at([lam])
            assert fields.log_std is not None
            scores = family.layout.split((fields.mean.abs() * (-fields.log_std).exp())[0])
            ranked = [scores[n] for n in family.layout.names if n.endswith("weight")]
            ordered = torch.cat([score.flatten() for score in ranked]).sort().values
            for place, share in enumerate(SHARES):
                threshold = ordered[round(share * len(ordered))]
                for weight, score in zip(weights, ranked, strict=True):
                    weight.mul_(score >= threshold)
                row[place] = (net(x).argmax(dim=1) == y).float().mean()
    return found


def together(family: Family, test: Dataset, metrics: tuple[str, ...]) -> Tensor:
    """Returns accuracies ``[λ, shares]``, all at once."""
    found = surface(family, test, lams=LAMS, shares=SHARES, metrics=metrics)
    return found.metrics["accuracy"]


def _work(measure: Callable[[], Tensor]) -> Callable[[], None]:
    """Returns a measurement as work whose result is not looked at."""

    def work() -> None:
        measure()

    return work


def _data() -> tuple[Dataset, Dataset, str]:
    """Returns some training data, 10,000 test examples, and where they come from; random pictures where MNIST is absent."""
    try:
        task = load("mnist", flat=True)
    except DataError:
        source = torch.Generator().manual_seed(0)
        x = (torch.rand(_TRAIN + _TEST, 784, generator=source) * 255).to(torch.uint8)
        y = torch.randint(0, 10, (len(x),), generator=source)
        shift, scale = torch.full((784,), 127.5), torch.full((784,), 1 / 127.5)
        whole = Dataset(x, y, shift, scale)
        first = torch.arange(_TRAIN + _TEST)
        return whole.select(first[:_TRAIN]), whole.select(first[_TRAIN:]), "random pictures"
    return task.train.select(torch.arange(_TRAIN)), task.test, "MNIST"
