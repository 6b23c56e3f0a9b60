"""netdial's own contenders: a family, a network that shrinks, a search for a structure, each with its defaults."""

from __future__ import annotations

from functools import partial

from torch import nn

from netdial.contest.match import CONTENDERS, Guess, Match, best, lengths
from netdial.core.best import MEAN
from netdial.core.errors import ConfigError
from netdial.measure.evaluation import evaluate
from netdial.shrinking.shrink import shrink
from netdial.structure.search.searching import search
from netdial.structure.spaces import ready_space
from netdial.train.fit import fit

_LAMS = 21
"""Complexity values that a member is chosen among."""

_PENALTIES = (0.003, 0.03, 0.3)
"""Weights of the penalty on channels: the default, and ten times less and more."""

_SPACES = {1: "mlp", 2: "signal-cell", 3: "image-cell"}
"""Search space by the number of dimensions of an input."""


@CONTENDERS.add("netdial fit")
def family(match: Match) -> Guess:
    """Trains a family, and takes the member of least validation loss."""

    def trained(epochs: int) -> Guess:
        made = fit(
            match.net(match.seed),
            match.train,
            kind=match.task,
            epochs=epochs,
            seed=match.seed,
            **match.settings,
        )
        path = evaluate(made, match.valid, lams=_LAMS, n_samples=0, metric=match.task.proper)
        lam = path.choose("best", [MEAN])[0].lam
        return match.of_network(made.export(lam), lam=lam, epochs=epochs)

    return best(lengths(trained, match.seconds))


@CONTENDERS.add("netdial shrink")
def shrunken(match: Match) -> Guess:
    """Trains networks that shrink while they train, at three weights of the penalty."""

    def trained(epochs: int, lam: float) -> Guess:
        made = shrink(
            match.net(match.seed),
            match.train,
            kind=match.task,
            epochs=epochs,
            seed=match.seed,
            lam=lam,
            **match.settings,
        )
        return match.of_network(made.fold()[0], lam=lam, epochs=epochs)

    share = match.seconds / len(_PENALTIES)
    return best(guess for lam in _PENALTIES for guess in lengths(partial(trained, lam=lam), share))


@CONTENDERS.add("netdial search")
def searched(match: Match) -> Guess:
    """Searches a structure by the default strategy, and trains what it finds."""
    shape = tuple(match.train.inputs()[0].shape)
    if len(shape) not in _SPACES:
        raise ConfigError(f"inputs of shape {list(shape)} have no ready space to search")
    space = ready_space(_SPACES[len(shape)], input_shape=shape, n_outputs=match.n_outputs)

    def trained(epochs: int) -> Guess:
        made = search(
            space,
            match.train,
            match.valid,
            kind=match.task,
            epochs=epochs,
            seed=match.seed,
            compare=False,
            **match.settings,
        )
        net: nn.Module = made.network
        return match.of_network(net, epochs=epochs)

    return best(lengths(trained, match.seconds))
