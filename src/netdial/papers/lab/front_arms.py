"""The arms of the comparison of fronts: which networks are made, and how. Every arm is a sweep, or a few.

    shrunken     one network that is too large; the size to arrive at drawn; channels and inputs go while it trains
    channels     the same without inputs: what a network of other widths could be, too
    independent  networks of fixed widths, the width of each layer drawn for itself
    factor       the draft's own baseline: one width for all layers
    grid         a grid of widths; for each, learning rates of which the worse are stopped early
    retrained    the widths that shrinking found (arm channels), trained from scratch
    draft        as the draft trains: subgradient of a drawn λ through Adam, death by a change of sign; with ``full``
    family       a member of one family over λ, slimmed to some sizes, each from the one before; one-shot: one network

A network of fixed widths is trained by the same code, for as many epochs, with λ = 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from netdial.family.running.compiled import library
from netdial.papers.lab.fronts import (
    FrontNetwork,
    cpu_seconds_of,
    front_of,
    ladder,
    networks,
    run_arm,
)
from netdial.papers.lab.lab import Lab

_LEAST = 8
"""Smallest width of a network of fixed widths: narrower layers waste draws."""

Arm = dict[str, Any]
"""The keys of a sweep that are an arm's own."""


@dataclass(frozen=True)
class FrontProblem:
    """Data and the size of the experiment.

    Attributes:
        data: data set or table.
        target: column to predict of a table.
        start: widths of the network to shrink from.
        network: specification that widths follow.
        epochs, runs: of each training, and of each arm.
        sizes: smallest and largest number of parameters that is drawn.
        batch: examples in a batch.
        inputs: whether inputs go, too: features of linear layers.
        rates, decays: range of the learning rate, and of the penalty on the weights, for all arms.
        deadline: share of a training after which a network that shrinks has its size.
        small: sizes of the quick version, whose network to shrink from is narrower.
        collect: steps between two collections; 0 for one an epoch.
        reference: name of the draft's result on these data; empty if there is none.
    """

    data: str
    target: str | None
    start: tuple[int, ...]
    network: str
    epochs: int
    runs: int
    sizes: tuple[int, int]
    small: tuple[int, int]
    batch: int = 256
    inputs: bool = True
    rates: tuple[float, float] = (3e-3, 3e-2)
    decays: tuple[float, float] = (1e-6, 1e-3)
    deadline: float = 0.4
    collect: int = 0
    reference: str = ""

    def at(self, lab: Lab) -> FrontProblem:
        """Returns the problem at the size that is wanted: small, three times as large, or as it is."""
        if lab.quick:
            start = tuple(max(8, width // 8) for width in self.start)
            epochs = max(2, self.epochs // 10)
            return replace(self, runs=4, epochs=epochs, start=start, sizes=self.small)
        if lab.full:
            start = tuple(3 * width for width in self.start)
            return replace(self, runs=3 * self.runs, epochs=3 * self.epochs, start=start)
        return self

    @property
    def shared(self) -> Arm:
        """What the sweeps of trained networks have in common."""
        settings: dict[str, Any] = {"epochs": self.epochs, "batch_size": self.batch}
        settings["restore_best"] = (
            False  # accuracy is compared, and rises after the loss has its minimum
        )
        settings |= {"target": self.target} if self.target else {}
        about = {"data": self.data, "way": "shrink", "trials": self.runs, "sampler": "random"}
        return {**about, "settings": settings}

    def model(self, *widths: object) -> str:
        """Returns the specification of the network of these widths; those of the start where there are none."""
        return f"{self.network}:{'-'.join(map(str, widths or self.start))}"


_FIXED = {"lam": 0.0, "start": "unit"}
_SHRINKING = {"wait": 0.3, "switch_rate": 1.0}
"""A channel is worth what it is once the network has learned something; most of training is for what is left. Switches that
move fast tell sooner what channels are worth: validation accuracy is 1.3 points higher than at the usual rate."""


_LAM = 2.0
"""Member that is slimmed, and trained on under ``l2``: with less of that penalty networks learn rows by heart between cuts."""


def trained_arms(problem: FrontProblem) -> dict[str, Arm]:
    """Returns the arms of random search, each as the keys of its sweep."""
    shared, (low, high) = problem.shared, problem.sizes
    space: dict[str, Any] = {
        name: {"low": least, "high": most, "log": True}
        for name, (least, most) in (("lr", problem.rates), ("lam2", problem.decays))
    }
    places = [f"w{number}" for number in range(1, len(problem.start) + 1)]
    width = {
        place: {"low": min(_LEAST, most - 1), "high": most, "log": True}
        for place, most in zip(places, problem.start, strict=True)
    }
    shrinking = {**_SHRINKING, "model": problem.model(), "size": "{n} params"}
    shrinking |= {"deadline": problem.deadline}
    shrinking |= {"collect_every": problem.collect} if problem.collect else {}
    size = {"n": {"low": low, "high": high, "log": True}}
    each = [f"{{{place}}}" for place in places]
    return {
        name: {
            **shared,
            "settings": {**shared["settings"], **settings},
            "space": {**space, **more},
        }
        for name, settings, more in (
            *((("shrunken", {**shrinking, "inputs": True}, size),) if problem.inputs else ()),
            ("independent", {**_FIXED, "model": problem.model(*each)}, width),
            ("factor", {**_FIXED, "model": problem.model(*["{w1}"] * len(each))}, {"w1": width["w1"]}),
            ("channels", shrinking, size),
        )
    }  # fmt: skip


def draft_arm(problem: FrontProblem) -> Arm:
    """Returns the draft's way of shrinking, over its ranges."""
    shared = problem.shared
    settings = {"penalty": "subgradient", "lam_schedule": "constant", "schedule": "constant"}
    space = {
        "lam": {"low": 1e-6, "high": 1e-1, "log": True},
        "lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "lam2": {"low": 1e-7, "high": 1e-1, "log": True},
    }
    own = {**shared["settings"], **settings, "model": problem.model()}
    return {**shared, "settings": own, "space": space}


def all_arms(lab: Lab, problem: FrontProblem) -> dict[str, list[FrontNetwork]]:
    """Returns the networks of all arms; those that are missing are made."""
    arms = trained_arms(problem) | ({"draft": draft_arm(problem)} if lab.full else {})
    found = {name: networks(run_arm(lab, name, arm)) for name, arm in arms.items()}
    if "shrunken" not in found:
        found = {"shrunken": found["channels"], **found}
    found["grid"] = _grid(lab, problem)
    found["retrained"] = _retrained(lab, problem, arms["independent"], found["channels"])
    return found | _slimmed(lab, problem)


def again(lab: Lab, name: str, arm: Arm, params: Mapping[str, Any], seeds: int) -> list[FrontNetwork]:  # fmt: skip
    """Returns networks of one draw of an arm with other seeds, from 1."""
    inside = {k: v for k, v in arm["settings"].items() if isinstance(v, str) and "{" in v}
    filled = {k: v.format(**params) for k, v in inside.items()}
    own = {k: v for k, v in params.items() if not any(f"{{{k}}}" in v for v in inside.values())}
    settings = {**arm["settings"], **own, **filled}
    space = {"seed": list(range(1, seeds + 1))}
    spec = {**arm, "settings": settings, "space": space, "trials": seeds, "sampler": "grid"}
    return networks(run_arm(lab, name, spec))


def _grid(lab: Lab, problem: FrontProblem) -> list[FrontNetwork]:
    """Returns, for each of some widths, the networks of those learning rates that were not stopped early."""
    most, (low, high) = problem.start[0], problem.rates
    steps = 2 if lab.quick else 6
    widths = sorted({round(_LEAST * (most / _LEAST) ** (n / (steps - 1))) for n in range(steps)})
    rates = [low, (low * high) ** 0.5, high]
    shared, found = problem.shared, list[FrontNetwork]()
    for width in widths:
        model = problem.model(*[width] * len(problem.start))
        settings = {**shared["settings"], **_FIXED, "model": model}
        about = {"sampler": "grid", "trials": len(rates), "objectives": ["valid/loss"]}
        stop = {"first": max(1, problem.epochs // 9), "factor": 3}
        spec = {**shared, "settings": settings, "space": {"lr": rates}, **about, "halving": stop}
        found += networks(run_arm(lab, f"grid-{width}", spec))
    return found


def _retrained(
    lab: Lab, problem: FrontProblem, fixed: Arm, shrunken: Sequence[FrontNetwork]
) -> list[FrontNetwork]:
    """Returns networks of the widths that shrinking found on its front, trained from scratch as those were."""
    found = []
    for one in front_of(shrunken):
        own = {name: one.params_of[name] for name in ("lr", "lam2")}
        settings = {**fixed["settings"], **own, "model": problem.model(*one.widths)}
        spec = {**fixed, "settings": settings, "space": {"seed": [0]}, "trials": 1}
        name = "-".join(["retrained", *map(str, one.widths)])  # another front has other sweeps
        found += networks(run_arm(lab, name, spec))
    return found


def _slimmed(lab: Lab, problem: FrontProblem) -> dict[str, list[FrontNetwork]]:
    """Returns a member of one family, and one network, cut to one size after another, and trained for a while after each cut.

    Inputs go where they do in the sweep.

    The network to start from is trained a third as long as others are, since cuts and more training follow, as long for each
    size; for nine tenths of that a family is one network.
    """
    low, high = problem.sizes
    rate, most = (problem.rates[0] * problem.rates[1]) ** 0.5, 2 if lab.quick else 10
    sizes = [round(low * (high / low) ** (number / most)) for number in range(most, -1, -1)]
    third = max(1, problem.epochs // 3)
    about: dict[str, Any] = {"base.epochs": third, "base.model": problem.model()}
    about |= {"base.lr": rate, "base.batch_size": problem.batch, "lr": rate}
    about |= {"base.target": problem.target} if problem.target else {}
    about |= {"base.points": 5, "base.samples": 0, "epochs": third}
    quick_steps = problem.network == "mlp" and not lab.quick and not library.missing()
    about |= {"base.objective": "l2", "base.compiled": quick_steps}
    about |= {"per": "params", "criterion": "taylor", "lam": _LAM, "inputs": problem.inputs}
    alone = about | {"base.map": "table", "base.lams": [_LAM]}
    about |= {"base.joint": 0.9, "base.lo": 0.03, "base.hi": 3.0}
    shared = {"data": problem.data, "way": "slim", "sampler": "grid"}
    found = {}
    for name, settings in (("family", about), ("one-shot", alone)):
        space = {"size": [", ".join(f"{size} params" for size in sizes)]}
        arm = {**shared, "settings": settings, "space": space, "trials": 1}
        slimmed = ladder(run_arm(lab, f"{name}-sizes", arm))
        store = lab.store.folder / "sweeps" / f"{name}-sizes"
        trained = sum(cpu_seconds_of(path) for path in sorted(store.glob("cells/fit-*")))
        # one family and one trial: their time is that of the first network
        found[name] = [
            replace(one, seconds=one.seconds + (trained if not number else 0.0))
            for number, one in enumerate(slimmed)
        ]
    return found
