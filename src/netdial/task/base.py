"""Task: what is predicted, and how outputs of a network are scored against targets.

A task is a value that everything which trains, evaluates, prunes or chooses is given: the negative log-likelihood of each
example, a proper loss to choose by, metrics with their standard errors, and the check of targets. ``classification`` and
``regression`` are registered in ``TASKS``; another task is one file with one class (see ``Task``).

Shapes: B examples, O outputs of the network, M members scored at once, S draws of the weights.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError, unknown
from netdial.data.memory.targets import Targets
from netdial.data.scale import TargetScale
from netdial.task.metric import Metric

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


@dataclass(frozen=True)
class Task(ABC):
    """What is predicted, and how it is scored; base class of all tasks.

    A task is a frozen dataclass whose fields are plain values, so that it can be stored with a family. To add one, derive
    from this class in a file of its own, define what is abstract here, and register it with ``@TASKS.add(name)``.

    Class attributes:
        name: name in ``TASKS``.
        targets: ``classes`` if targets are class indices ``[N]``, ``numbers`` if they are columns ``[N, T]``; see ``Targets``.
        reported: metrics that are always reported; members are compared by the first.
        loss_name: what ``loss`` is called.
        proper: metric that ``loss`` belongs to; choices are made by it unless another is asked for.
        has_constant: whether there is a prediction that looks at no input to compare with.
        mixes: whether the density of a prediction from several draws is the mean of theirs; else it is that of their mean.
        METRICS: all metrics by name; ``nll`` is always there.
    """

    name: ClassVar[str]
    targets: ClassVar[Targets]
    reported: ClassVar[tuple[str, ...]]
    loss_name: ClassVar[str]
    proper: ClassVar[str] = "nll"
    has_constant: ClassVar[bool] = True
    mixes: ClassVar[bool] = True
    METRICS: ClassVar[Mapping[str, Metric]]

    @property
    def metric(self) -> str:
        """Metric that members are compared by."""
        return self.reported[0]

    @abstractmethod
    def nll(
        self, outputs: Float[Tensor, "B ..."], targets: Shaped[Tensor, "B ..."]
    ) -> Float[Tensor, " B"]:
        """Returns the negative log-likelihood of each example in nats ``[B]``, of outputs ``[B, O]``."""

    def nll_by_groups(self, outputs: Tensor, targets: Tensor, groups: int) -> Tensor:
        """Returns what ``nll`` does of as many batches one after another ``[G b]``, of which each has a loss of its own."""
        return self.nll(outputs, targets)

    @abstractmethod
    def count(self, targets: Tensor) -> int:
        """Returns how many outputs of a network the targets ask for.

        Raises:
            DataError: the targets are not of this task.
        """

    @abstractmethod
    def loss(
        self, outputs: Float[Tensor, "*M B O"], targets: Shaped[Tensor, "B ..."]
    ) -> Float[Tensor, "*M B"]:
        """Returns a proper loss of each example ``[..., B]`` of outputs ``[..., B, O]``, which choices are made by."""

    def constant(self, targets: Tensor, n_outputs: int) -> Tensor:
        """Returns the outputs ``[O]`` that fit targets best when inputs are not looked at; by default those of least nll."""
        found = torch.zeros(n_outputs, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS([found], max_iter=100, line_search_fn="strong_wolfe")

        def mean_nll() -> Tensor:
            solver.zero_grad()
            mean = self.nll(found.expand(len(targets), -1), targets).mean()
            mean.backward()
            return mean

        with torch.enable_grad():
            solver.step(mean_nll)
        return found.detach()

    def check(self, targets: Tensor, n_outputs: int | None = None) -> None:
        """Refuses targets that are not of this task, or that ask for more than ``n_outputs`` outputs.

        Raises:
            DataError: says what was given and what is allowed.
        """
        asked = self.count(targets)
        if n_outputs is not None and not self.fits(n_outputs, asked):
            raise DataError(
                f"targets {list(targets.shape)} ask for {asked} {self.targets}, the network gives {n_outputs} outputs; "
                "give the network as many outputs as there are targets"
            )

    def misfit(self, outputs: Tensor, targets: Tensor | None, asked: int) -> str:
        """Returns what outputs of a few examples should have been, in words; empty if they can be scored.

        Args:
            outputs: of the network.
            targets: of the same examples, if they are there.
            asked: what ``count`` said of all targets.
        """
        if outputs.ndim == 2 and self.fits(outputs.shape[1], asked):
            return ""
        classes = f"{asked} classes); the targets run up to {asked - 1}"
        columns = f"{asked} targets)"
        is_flat = outputs.ndim == 1
        if is_flat and asked == 1:
            columns += "; leave squeeze(-1) out, or give targets y[:, 0] and loss=torch.nn.functional.mse_loss"
        elif asked == 2 and (is_flat or outputs.shape[-1] == 1):
            classes = (
                f"2 classes); give the network two outputs, or targets y.float(){'' if is_flat else '[:, None]'} and "
                "loss=torch.nn.functional.binary_cross_entropy_with_logits"
            )
        elif outputs.shape[-1:] == (1,):
            classes += "; if they are quantities give y.astype(float)[:, None]"
        elif outputs.shape[-1:] == (asked - 1,):
            classes += ", and count from 0: give y - 1 if yours begin at 1"
        return f"[{len(outputs)}, {asked}] ({classes if self.targets == 'classes' else columns}"

    def seen(self, outputs: Tensor, targets: Tensor) -> Self:
        """Returns the task with what outputs and targets of a few examples tell of it."""
        return self

    def classes_of(self, outputs: Tensor) -> int | None:
        """Returns how many classes a network knows, or targets it predicts; None if the task does not say."""
        return outputs.shape[1]

    def is_single(self, outputs: Tensor, targets: Tensor) -> bool:
        """Returns whether outputs are those of one network ``[B, O]``, not of several ``[M, B, O]``."""
        return outputs.ndim == 2

    def fits(self, n_outputs: int, asked: int) -> bool:
        """Returns whether a network with so many outputs serves targets that ask for so many."""
        return n_outputs == asked

    def outputs(self, count: int) -> int:
        """Returns how many outputs a network needs for so many classes, or targets; by default one for each."""
        return count

    def root(self, outputs: Tensor) -> Tensor:
        """Returns s ``[B, K, O]`` with Σ_k s_k s_kᵀ = Fisher information of the likelihood in the outputs ``[B, O]``.

        Raises:
            ConfigError: the task does not say.
        """
        raise ConfigError(
            f"task {self.name!r} has no curvature, so criteria and estimators that need it do not apply; define root() on "
            f"{type(self).__name__}, or choose another"
        )

    def information(self, outputs: Tensor, targets: Tensor, source: torch.Generator) -> Tensor:
        """Returns s ``[B, K, ...]``, as ``root`` does; of tasks whose outputs have places, by signs drawn from a source.

        The outer products of those add up to the information on average.
        """
        return self.root(outputs)

    def at(self, lam: float) -> Self:
        """Returns the task of the member at λ; it differs from this one where the likelihood depends on λ."""
        return self

    def assuming(self, noise_var: float) -> Self:
        """Returns the task whose training assumes a noise variance.

        Raises:
            ConfigError: the task has none.
        """
        raise ConfigError(
            f"noise_var={noise_var:g}: the task is {self.name}, and only a regression has a noise variance; leave it out"
        )

    def in_training(self) -> Self:
        """Returns the task with the likelihood that training maximises, where it is another than that of predictions."""
        return self

    def trained_as(self, other: Task | None) -> Self:
        """Returns the task with the likelihood of training of a family's task, where it is another than its own."""
        return self

    def along(self, lams: Sequence[float]) -> Self:
        """Returns the task of M members at M complexity values, for ``member_nll``; see ``at``."""
        return self

    def unit(self, metric: str) -> str:
        """Returns the unit of a metric, in words; empty if it has none."""
        return self.known(metric).unit

    def in_units(self, scale: TargetScale | None) -> Self:
        """Returns the task with the units of its targets, where it has units and did not know them."""
        return self

    def advice(self, targets: Tensor) -> str:
        """Returns what to mend about targets that can be used but will not be learnt well; empty if there is nothing."""
        return ""

    def of_constant(self, targets: Tensor, constant: Tensor) -> Self:
        """Returns the task of a prediction that is the same everywhere: what is estimated for members is of its errors."""
        return self

    def plugged_in(self) -> Self:
        """Returns the task of one set of weights, taken for certain: what is unknown of them counts as noise."""
        return self

    def moments(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Returns the statistics ``[M, B, T]`` that the likelihood depends on once its own parameters are integrated out.

        None if the likelihood has no parameters of its own, see ``marginal``.
        """
        return None

    @property
    def wants_held_out(self) -> bool:
        """Whether evidence may choose λ only after a look at held-out errors: the likelihood has parameters nobody knows."""
        return False

    def held_out_loss(self, lam: float) -> float | None:
        """Returns the mean loss of the network of the member at λ on rows that were held out, if it was noted."""
        return None

    @property
    def precision(self) -> Tensor | None:
        """Precisions of the likelihood ``[T]`` in float64, if they are known and do not follow from the data."""
        return None

    def training_var(self, count: int) -> Tensor:
        """Returns the variances ``[T]`` that training assumed of the likelihood, of T = ``count`` targets, in float64."""
        raise NotImplementedError

    def marginal(self, sums: Tensor, count: int) -> tuple[float, Tensor]:
        """Returns -log p(D | w) in nats with the likelihood's own parameters integrated out, and its slope in the sums.

        Args:
            sums: sums over examples of ``moments`` ``[T]``.
            count: N, examples.
        """
        raise NotImplementedError

    def member_nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the negative log-likelihoods ``[M, B]`` of outputs ``[M, B, O]`` for targets ``[B, ...]``."""
        members = outputs.shape[0]
        repeated = targets.repeat(members, *[1] * (targets.ndim - 1))
        return self.nll(outputs.flatten(0, 1), repeated).view(members, -1)

    def to_mean(self, outputs: Tensor) -> Tensor:
        """Returns what is averaged over draws of the weights: the mean of the distribution that outputs stand for.

        Where targets are classes these are their probabilities ``[..., C]``.
        """
        return outputs

    def of_mean(self, mean: Tensor) -> Tensor:
        """Returns the outputs that stand for a mean; the inverse of ``to_mean``."""
        return mean

    def better(self, metric: str) -> Literal[1, -1]:
        """Returns 1 if higher values of a metric are better, -1 if lower ones are.

        Raises:
            ConfigError: the task has no such metric.
        """
        return 1 if self.known(metric).higher else -1

    def known(self, metric: str) -> Metric:
        """Returns a metric by name.

        Raises:
            ConfigError: the task has no such metric.
        """
        if metric not in self.METRICS:
            raise unknown("metric", metric, self.METRICS)
        return self.METRICS[metric]

    def metrics(
        self,
        outputs: Tensor,
        targets: Tensor,
        names: Sequence[str] | None = None,
        nll: Tensor | None = None,
    ) -> dict[str, float]:
        """Returns metrics of outputs ``[B, O]``.

        Args:
            outputs: of the network, or of a predictive distribution.
            targets: ``[B, ...]``.
            names: which; ``reported`` by default.
            nll: negative log-likelihoods ``[B]``, where they do not follow from the outputs.

        Raises:
            ConfigError: the task has no such metric.
        """
        return {
            name: self._value(name, outputs, targets, nll)
            for name in (self.reported if names is None else names)
        }

    def predictive(
        self, draws: Tensor, targets: Tensor, names: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Returns metrics of the predictive distribution: densities (see ``mixes``) and means over outputs ``[S, B, O]``."""
        mean = torch.stack([self.to_mean(draw) for draw in draws]).mean(dim=0)
        nll = self.mixture_nll(draws, targets) if self.mixes else None
        return self.metrics(self.of_mean(mean), targets, names, nll)

    def mixture_nll(self, draws: Tensor, targets: Tensor) -> Tensor:
        """Returns the negative logarithms ``[B]`` of densities averaged over outputs ``[S, B, O]``, in nats."""
        log_density = -torch.stack([self.nll(draw, targets) for draw in draws])
        return math.log(len(draws)) - torch.logsumexp(log_density, dim=0)

    def standard_error(self, metric: str, outputs: Tensor, targets: Tensor) -> float:
        """Returns the standard error of a metric over examples; nan with fewer than two.

        By the delta method for a function of a mean over examples, else by the jackknife over groups of examples.

        Raises:
            ConfigError: the task has no such metric.
        """
        return self.known(metric).standard_error(self, outputs, targets)

    def settings(self) -> dict[str, Any]:
        """Returns the task as plain values that JSON can hold; ``restore`` reads them."""
        return {"name": self.name, **asdict(self)}

    def _value(self, name: str, outputs: Tensor, targets: Tensor, nll: Tensor | None) -> float:
        if name == "nll" and nll is not None:
            return math.nan if bool(outputs.isnan().any()) else float(nll.mean())
        return self.known(name).value(self, outputs, targets)
