"""Formulas for data: constants by a quasi-Newton method, structures one by one, the best by an information criterion."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from netdial.core.arguments import Count, checked
from netdial.core.errors import DataError
from netdial.core.noise import generator
from netdial.core.outputs import in_usual_modes
from netdial.data.memory.arrays import as_tensor, column_names
from netdial.structure.derived import DerivedNetwork, derive
from netdial.structure.formulas.operations import InputNumber, Unary
from netdial.structure.formulas.trees import OUTPUT, formula_of, formula_space
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import SearchSpace

Goal = Literal["values", "ranks"]

_KEPT, _FRESH, _TRIES = 8, 3, 20
"""Best structures that are varied; every third structure is drawn anew; draws for each structure that is tried."""

_STEPS, _PAIRS = 40, 20_000
"""Steps of the minimisation; pairs of rows that are compared at most."""

_DIGITS, _ALL_DIGITS = 4, 17
"""Significant digits of constants in a text at least, and those that say a number exactly."""

_FAR, _ROUNDED = 3.0, 1e-3
"""Mean of an input over its standard deviation above which it lies far from 0; error of the output, over its standard
deviation, that rounding of constants may make in the text."""


@dataclass(frozen=True, eq=False)
class FormulaFit:
    """The best formula that was found.

    Attributes:
        text: the formula.
        net: the network that computes it.
        genotype: its structure.
        loss: mean squared error, or mean logistic loss of pairs.
        score: the criterion that it is best by: rows · log(loss) for values and 2 · rows · loss for ranks, plus log(rows) for
            each constant.
        tried: structures that were fitted.
    """

    text: str
    net: DerivedNetwork
    genotype: Genotype
    loss: float
    score: float
    tried: int


@checked
@in_usual_modes
def fit_formula(
    x: Any,
    y: Any,
    *,
    names: Sequence[str] | None = None,
    goal: Goal = "values",
    depth: Count = 1,
    functions: Sequence[str] = ("id", "square", "sqrt", "log", "exp", "sin"),
    trials: Count = 300,
    restarts: Count = 2,
    seed: int = 0,
) -> FormulaFit:
    """Returns a short formula of the inputs that predicts targets, or orders rows as targets do.

    Up to ``trials`` structures all are tried; of more, random ones and variations of the best.

    Args:
        x: inputs ``[N, D]``: a tensor, an array or a frame.
        y: targets ``[N]``; for ``ranks`` only their order matters.
        names: names of the inputs; by default those of a frame's columns, else x0, x1, ….
        goal: ``values`` or ``ranks``.
        depth: operators on the way from an input to the output.
        functions: elementary functions.
        trials: structures that are tried.
        restarts: starts of the constants of each.
        seed: of structures and starts.

    Raises:
        DataError: inputs and targets do not fit, or hold NaN.
    """
    names = names or column_names(x) or None
    x, y = as_tensor(x, "fit_formula: inputs"), as_tensor(y, "fit_formula: targets")
    if x.ndim != 2 or y.shape != x.shape[:1] or len(x) < 3:
        raise DataError(f"inputs {list(x.shape)}, targets {list(y.shape)}; expected [N, D], [N]")
    if not bool(x.isfinite().all() and y.isfinite().all()):
        raise DataError("inputs or targets hold NaN or infinity; leave these rows out")
    if names is not None and len(names) != x.shape[1]:
        raise DataError(f"{len(names)} names for {x.shape[1]} inputs")
    space = formula_space(x.shape[1:], 1, depth=depth, functions=functions)
    data = Rows(x.double(), y.double(), goal)
    best: list[FormulaFit] = []
    seen: set[object] = set()
    for genotype in _structures(space, trials, seed, best):
        key = _alike(space, genotype, 1)
        if key not in seen:
            seen.add(key)
            best.append(_fitted(space, genotype, data, restarts, seed))
            best.sort(key=lambda fit: fit.score)
            del best[_KEPT:]
        if len(seen) >= trials:
            break
    return replace(best[0], text=_text(best[0].net, x.double(), names), tried=len(seen))


def _structures(
    space: SearchSpace, trials: int, seed: int, best: Sequence[FormulaFit]
) -> Iterator[Genotype]:
    """Yields structures to try; ``best`` are those so far, the best first."""
    if space.count <= trials:
        yield from space.enumerate()
        return
    source = generator(seed, "formulas")
    for number in range(_TRIES * trials):
        new = space.sample(source)
        if best and number % _FRESH:
            parent = best[int(torch.randint(len(best), (), generator=source))].genotype
            changed = torch.rand(len(space.choices), generator=source) < 2 / len(space.choices)
            pairs = zip(space.choices, changed.tolist(), strict=True)
            new = space.genotype(
                {key: list((new if is_new else parent)[key]) for key, is_new in pairs}
            )
        yield new


def _alike(space: SearchSpace, genotype: Genotype, vertex: int) -> object:
    """Returns a value that is equal for structures that differ by the order of sums and products alone."""

    def chosen(edge: str) -> tuple[str, ...]:
        return genotype[edge] if edge in space.choices else ("only",)

    if f"x->{vertex}" in space.wiring.edges:
        return chosen(f"x->{vertex}")
    parts = []
    for below in (2 * vertex, 2 * vertex + 1):
        name = chosen(f"{below}->{vertex}/pair")
        if name != ("none",):
            parts.append((name, _alike(space, genotype, below)))
    sign = chosen(f"{vertex}/pair->{vertex}")
    if sign == ("*",) and len(parts) == 1:
        return "0"
    return (sign, tuple(sorted(parts, key=repr)))


class Rows:
    """Examples, and the loss of predictions for them; in units of their own, so that theirs do not matter.

    Inputs are divided by their root mean squares; targets have mean 0 and standard deviation 1, if values are predicted. Years,
    say, lie far from 0, where constants to begin with make all functions flat: these columns stand a second time, of mean 0 and
    standard deviation 1, for functions that add a constant, so that the formulas are the same.

    Args:
        x: inputs ``[N, D]``.
        y: targets ``[N]``.
        goal: ``values`` or ``ranks``.
    """

    def __init__(self, x: Tensor, y: Tensor, goal: Goal) -> None:
        self.units, self.mean, self.std = x.square().mean(dim=0).sqrt(), 0.0, 1.0
        self.units = torch.where(self.units > 0, self.units, 1.0)
        self.deviations, self.centres = torch.std_mean(x, dim=0, correction=0)
        self.far = (self.deviations > 0) & (self.centres.abs() > _FAR * self.deviations)
        self.deviations = torch.where(self.deviations > 0, self.deviations, 1.0)
        if goal == "values":
            spread = float(y.std(correction=0))
            self.mean, self.std = float(y.mean()), spread if spread > 0 else 1.0
        centred = (x - self.centres) / self.deviations
        self.x = torch.cat([x / self.units, centred], dim=1)
        self.y, self.goal = (y - self.mean) / self.std, goal
        self.upper, self.lower = torch.nonzero(y[:, None] > y[None], as_tuple=True)
        if len(self.upper) > _PAIRS:
            some = torch.randperm(len(self.upper), generator=generator("pairs"))[:_PAIRS]
            self.upper, self.lower = self.upper[some], self.lower[some]
        if goal == "ranks" and not len(self.upper):
            raise DataError("all targets are equal; there is nothing to order")

    def loss(self, predicted: Tensor) -> Tensor:
        """Returns the mean squared error, or the mean of log(1 + exp(-(f_i - f_j))) over pairs with y_i > y_j."""
        if self.goal == "values":
            return (predicted - self.y).square().mean()
        return F.softplus(predicted[self.lower] - predicted[self.upper]).mean()

    def centre(self, net: DerivedNetwork) -> None:
        """Gives a network the centred columns of inputs that lie far from 0, where its functions add a constant."""
        for leaf, unary in _leaves(net):
            if self.far[leaf.index] and unary.shift is not None:
                leaf.index += len(self.units)

    def restore(self, net: DerivedNetwork) -> None:
        """Gives a network for these examples the constants that it has for inputs and targets in the units of the data."""
        with torch.no_grad():
            for leaf, unary in _leaves(net):
                if leaf.index < len(self.units):
                    unary.scale.div_(self.units[leaf.index])
                    continue
                leaf.index -= len(self.units)
                unary.scale.div_(self.deviations[leaf.index])
                assert unary.shift is not None
                unary.shift.sub_(unary.scale * self.centres[leaf.index])
            if f"1->{OUTPUT}" in net.edges:
                head: Any = net.edges[f"1->{OUTPUT}"]["linear"]  # type: ignore[index]
                head.weight *= self.std
                head.bias.copy_(head.bias * self.std + self.mean)

    def score(self, loss: float, constants: int) -> float:
        """Returns the criterion, smaller is better."""
        rows = len(self.y)
        fit = rows * math.log(max(loss, 1e-30)) if self.goal == "values" else 2 * rows * loss
        return fit + constants * math.log(rows)


def _fitted(
    space: SearchSpace,
    genotype: Genotype,
    rows: Rows,
    restarts: int,
    seed: int,
) -> FormulaFit:
    """Returns a structure with the best constants of a few starts, without its text."""
    starts = [derive(space, genotype, seed=seed + i).double() for i in range(restarts)]
    for net in starts[-1::-2]:  # the others begin at 0
        rows.centre(net)
    loss, net = min((_minimised(net, rows) for net in starts), key=lambda one: one[0])
    rows.restore(net)
    loss *= rows.std**2
    constants = sum(parameter.numel() for parameter in net.parameters())
    return FormulaFit("", net, genotype, loss, rows.score(loss, constants), 1)


def _leaves(net: DerivedNetwork) -> Iterator[tuple[InputNumber, Unary]]:
    """Yields the inputs of a formula, each with the function that takes it."""
    edges: dict[str, Any] = dict(net.edges.items())
    for name, edge in edges.items():
        (module,) = edge.values()
        if isinstance(module, InputNumber):
            leaf = name.partition("->")[2]
            for unary in edges.get(f"{leaf}->{int(leaf) // 2}/pair", {}).values():
                yield module, unary


def _text(net: DerivedNetwork, x: Tensor, names: Sequence[str] | None) -> str:
    """Returns the formula with as many digits as its constants need, four at least: those of years need more."""
    with torch.no_grad():
        whole, rounded = net(x), copy.deepcopy(net)
        allowed = _ROUNDED * whole.std(correction=0)
        for digits in range(_DIGITS, _ALL_DIGITS):
            for new, old in zip(rounded.parameters(), net.parameters(), strict=True):
                values = [float(f"{value:.{digits}g}") for value in old.flatten().tolist()]
                new.copy_(torch.tensor(values, dtype=old.dtype).reshape(old.shape))
            if (rounded(x) - whole).square().mean().sqrt() <= allowed:
                return formula_of(net, names, digits=digits)
    return formula_of(net, names, digits=_ALL_DIGITS)


def _minimised(net: DerivedNetwork, rows: Rows) -> tuple[float, DerivedNetwork]:
    """Returns the loss and a network at a minimum; infinity where its numbers are not finite."""
    parameters = list(net.parameters())
    _regress(net, rows)
    search = torch.optim.LBFGS(parameters, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = rows.loss(net(rows.x)[:, 0])
        loss.backward()
        return loss

    search.step(closure)
    with torch.no_grad():
        loss = float(rows.loss(net(rows.x)[:, 0]))
    return (loss if math.isfinite(loss) else math.inf), net


def _regress(net: DerivedNetwork, rows: Rows) -> None:
    """Sets the last two constants to those of least squares."""
    head: Any = net.edges[f"1->{OUTPUT}"]["linear"] if f"1->{OUTPUT}" in net.edges else None  # type: ignore[index]
    if head is None:
        return
    with torch.no_grad():
        raw = (net(rows.x)[:, 0] - head.bias) / head.weight[0, 0]
        spread = raw.var()
        if not (spread > 1e-12 and bool(raw.isfinite().all())):
            return
        slope = ((raw - raw.mean()) * (rows.y - rows.y.mean())).mean() / spread
        head.weight.fill_(slope if slope.abs() > 1e-6 else 1e-6)
        head.bias.fill_(rows.y.mean() - head.weight[0, 0] * raw.mean())
