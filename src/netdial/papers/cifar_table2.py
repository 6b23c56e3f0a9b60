"""Table 2 and Figures 6 and 7 of the 2022 paper: six implementations on CIFAR-10, pruned.

Full size (``--full``): the paper's CNN of 9,074,218 parameters, crops and flips, 75 epochs directly and 150 as a family, five
starts, λ from 1e-2 to 1; it wants an accelerator. The usual size suits two cores: LeNet-5 (62,006 parameters) on 20,000
images without augmentation, three starts; its accuracies are those of LeNet-5 and can be compared with the paper's in their
order and in what pruning does to them, not in height.

The same share of every layer is removed. The authors pruned the first two convolutions alone in implementation (c), so that its
published row keeps more than it would. λ under L2 does not train this network (paper, §4.4), so (b), (e), (h) are left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from netdial.papers.lab import pruned_tables as tables
from netdial.papers.lab import reference
from netdial.papers.lab.lab import Lab
from netdial.papers.lab.outcome import Outcome, lost_words
from netdial.papers.lab.pruned import PrunedFamily
from netdial.papers.lab.rules import paper_rule
from netdial.papers.lab.training import Training, classification
from netdial.train.config import make_config

LAMS = (0.01, 0.1, 1.0)
ROWS = tuple(i for i in tables.IMPLEMENTATIONS if i.objective != "scaled-prior")


class ExperimentSize(NamedTuple):
    """How large the experiment is.

    Attributes:
        model: network.
        examples: training examples; 0 for all.
        epochs: by map.
        starts: seeds.
        augment: whether images are varied.
        settings: of the training.
        shares: of weights removed.
    """

    model: str
    examples: int
    epochs: dict[str, int]
    starts: int
    augment: bool
    settings: dict[str, Any]
    shares: tuple[float, ...]


FULL = ExperimentSize(
    "cnn",
    0,
    {"table": 75, "linear": 150, "piecewise": 150},
    5,
    True,
    {"batch_size": 128, "lr": 1e-3, "groups": 4, "regions": 2},
    reference.mnist_shares(),
)
USUAL = ExperimentSize(
    "lenet5",
    20_000,
    {"table": 12, "linear": 20, "piecewise": 20},
    3,
    False,
    {"batch_size": 256, "lr": 4e-3, "groups": 4, "regions": 2},
    reference.COLUMNS,
)
QUICK = USUAL._replace(examples=2_000, epochs=dict.fromkeys(USUAL.epochs, 2), starts=1)


def experiment(lab: Lab) -> Outcome:
    """Returns both tables and the figures."""
    data = lab.data or "cifar10"
    size = FULL if lab.full else QUICK if lab.quick else USUAL
    task = classification(data, lab.store.data_dir, flat=False)
    seeds = lab.seed_list(size.starts)
    cells = {
        row.letter: [
            PrunedFamily(training(data, size, row, seed), LAMS, size.shares) for seed in seeds
        ]
        for row in ROWS
    }
    lab.make([cell for row in cells.values() for cell in row])
    found = {label: tables.gather(row, lab.store) for label, row in cells.items()}
    narrow = {label: tables.columns_of(accuracy, size.shares) for label, accuracy in found.items()}
    words = {row.letter: row.words for row in ROWS}
    published = reference.CIFAR_TABLE2 if data == "cifar10" else {}
    kept = {label: paper_rule(accuracy.test) for label, accuracy in narrow.items()}
    best = max("adg", key=lambda label: float(kept[label][-2]))
    base = max("cfi", key=lambda label: float(kept[label][-2]))
    example = cells["a"][0].training
    return Outcome(
        lab.name,
        "Six implementations on CIFAR-10, pruned",
        f"With 70 % of the weights removed the best variational row, {words[best]}, keeps {kept[best][-2]:.2%}, the best "
        f"base row, {words[base]}, {kept[base][-2]:.2%}; with all weights {kept[best][0]:.2%} and {kept[base][0]:.2%}.",
        (
            tables.paper_table(narrow, words, published),
            tables.honest_table(narrow, words),
            tables.chosen_table(narrow, words, LAMS),
        ),
        (
            tables.panels_figure(found, words, LAMS, size.shares),
            tables.averaged_figure(found, words, size.shares),
        ),
        {
            **tables.values(tables.in_words(narrow, words), LAMS),
            "curves": tables.curves(tables.in_words(found, words), LAMS, size.shares),
            "published": tables.in_words(published, words),
        },
        {
            "data": data,
            "network": size.model,
            "training examples": len(example.part(task)),
            "starts": len(seeds),
            "epochs": size.epochs,
            "augmentation": size.augment,
            "settings": size.settings,
        },
        ()
        if lab.full
        else (
            "A size for two cores: LeNet-5 on a part of the images. The paper's CNN has 146 times the weights; compare the "
            "order of the rows and what pruning does to them, not the height.",
        ),
        facts={
            "chosen": (
                words[best],
                f"the best variational row with 70 % of the weights removed: {kept[best][-2]:.2%} of test images right",
            ),
            "lost": (
                lost_words(float(kept[best][0] - kept[best][-2])),
                "of test accuracy, by removing 70 % of the weights",
            ),
            "rival": (
                f"{kept[base][-2]:.2%}",
                f"of test images right, {words[base]}, the best base row with as many removed",
            ),
        },
    )


def training(data: str, size: ExperimentSize, row: tables.Implementation, seed: int) -> Training:
    """Returns the training of one implementation from one start."""
    settings = {
        **size.settings,
        "map": row.map,
        "objective": row.objective,
        "joint": 0.0,
        "epochs": size.epochs[row.map],
        "lams": LAMS if row.map == "table" else (),
        "lo": LAMS[0],
        "hi": LAMS[-1],
        "seed": seed,
    }
    return Training(
        data, size.model, make_config(**settings), examples=size.examples, augment=size.augment
    )
