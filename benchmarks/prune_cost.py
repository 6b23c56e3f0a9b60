"""Wall time of pruning all λ at ten levels with the test set, over that of one member after another (one thread).

A family of MNIST size (784-50-10), λ = 1e-3 … 1e2 (six members), shares 0, 0.1, …, 0.9, accuracy on 10,000 test examples. The
loop is what a competent user writes without ``surface``: the data are normalised once, each member is exported once and its
weights are ranked once by relative density; then for each share the weights below the threshold are set to 0 in place and the
network runs on the whole test set. Both give the same results. The last figure is against the library's own functions, one
member at a time: ``prune``, ``export``, ``outputs``, ``score``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.mnist import LAMS
from benchmarks.result import Result
from benchmarks.timing import interleaved
from netdial.core.errors import DataError
from netdial.data import Dataset, load
from netdial.evaluation import outputs
from netdial.evaluation.metrics import score
from netdial.family import Family
from netdial.fitting import fit
from netdial.nets import build
from netdial.pruning import prune, surface

SHARES = tuple(level / 10 for level in range(10))
METRICS = (("accuracy",), ("accuracy", "nll"))
LIBRARY = "accuracy, nll and brier, against prune, export and evaluate in turn"
_TRAIN, _TEST = 5_000, 10_000


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio for accuracy alone, and for accuracy and NLL."""
    torch.set_num_threads(1)
    train, test, source = _data()
    net = build("mlp:50", input_shape=(784,), n_outputs=10)
    family = fit(net, train, epochs=3, batch_size=128)
    value: dict[str, float] = {}
    spread: dict[str, object] = {}
    rows: list[dict[str, object]] = []
    worst = 0.0
    for metrics in METRICS:
        label = " and ".join(metrics)
        by_loop, batched = one_by_one(family, test, metrics), together(family, test, metrics)
        worst = max(worst, float((by_loop - batched).abs().max()))
        contenders = {
            "one by one": _work(one_by_one, family, test, metrics),
            "together": _work(together, family, test, metrics),
        }
        seconds, ratios, reach = interleaved(
            contenders, baseline="one by one", rounds=5 if quick else 15
        )
        value[label], spread[label] = ratios["together"], reach["together"]
        rows += [
            {"metrics": label, "contender": way, "s": taken, "ratio": ratios.get(way, 1.0)}
            for way, taken in seconds.items()
        ]
    seconds, ratios, reach = interleaved(
        {
            "library, one by one": lambda: by_library(family, test),
            "together": _work(together, family, test, ("accuracy", "nll", "brier")),
        },
        baseline="library, one by one",
        rounds=1 if quick else 3,
    )
    value[LIBRARY], spread[LIBRARY] = ratios["together"], reach["together"]
    rows += [
        {"metrics": LIBRARY, "contender": way, "s": taken, "ratio": ratios.get(way, 1.0)}
        for way, taken in seconds.items()
    ]
    if worst > 1e-3:
        raise RuntimeError(f"prune-cost: the two ways differ by {worst:g}")
    return Result(
        "prune-cost",
        value,
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline=f"export, rank and prune one member after another, {source}; results agree to {worst:.0e}",
        floor="about 0.2: every first-layer weight times every example once, in a sparse product",
        spread=spread,
        rows=rows,
    )


def one_by_one(family: Family, test: Dataset, metrics: tuple[str, ...]) -> Tensor:
    """Returns metrics ``[metrics, λ, shares]``, member by member."""
    x, y = test.inputs(), test.y
    found = torch.empty(len(metrics), len(LAMS), len(SHARES))
    with torch.no_grad():
        for member, lam in enumerate(LAMS):
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
                out = net(x)
                found[0, member, place] = (out.argmax(dim=1) == y).float().mean()
                if len(metrics) > 1:
                    found[1, member, place] = F.cross_entropy(out, y)
    return found


def by_library(family: Family, test: Dataset) -> None:
    """Does what ``evaluate`` does for every member at every share, by the library's own functions."""
    for lam in LAMS:
        for share in SHARES:
            net = prune(family, lam, share).export(lam)
            score(outputs(net, test)[None], test.y, "classification")


def together(family: Family, test: Dataset, metrics: tuple[str, ...]) -> Tensor:
    """Returns metrics ``[metrics, λ, shares]``, all at once."""
    found = surface(family, test, lams=LAMS, shares=SHARES, metrics=metrics)
    return torch.stack([found.metrics[name] for name in metrics])


def _work(
    measured: Callable[[Family, Dataset, tuple[str, ...]], Tensor],
    family: Family,
    test: Dataset,
    metrics: tuple[str, ...],
) -> Callable[[], None]:
    """Returns a measurement as work whose result is not looked at."""

    def work() -> None:
        measured(family, test, metrics)

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
