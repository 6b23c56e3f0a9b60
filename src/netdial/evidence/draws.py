"""Draws from posteriors, and the likelihood of the training data under them.

Two passes over the data, made only if an estimator asks:

- ``expected`` for all that needs no more than E_q log p(D | w). Fresh noise for every batch and, on flat inputs, for every
  example (local reparametrisation, Kingma et al. 2015): what matters is the mean over examples, and independent noise
  averages out over them, where one draw for all examples would not.
- ``pointwise`` for estimators that need p(y | x, w) of all examples under the *same* w (importance weights, WAIC, LOO).

Both use the same random numbers at every λ, so differences along the path are quieter than the values.
Where the network allows, members run side by side on a shared batch; otherwise one by one, as exported.

Shapes: K complexity values, S draws, M examples, P numbers of the layout, b examples of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise, derive_seed, generator
from netdial.core.outputs import without_gradients
from netdial.data.dataset import Dataset, match
from netdial.family.family import Family
from netdial.family.fields import Fields
from netdial.measure.members import Members, apart
from netdial.task import Task

_BATCH = 512
_MATRIX = 1 << 29  # log-likelihoods kept at once: 2 GiB in single precision


@dataclass(frozen=True)
class Expected:
    """E_q log p(D | w) of K members.

    Attributes:
        batches: sums over the examples of each of J batches in each of S sweeps ``[K, S, J]``, nats; all independent.
        examples: means over the sweeps, of each example ``[K, M]``, nats.
        wrong: share of examples classified wrongly, over all sweeps ``[K]``; nan where targets are no classes.
        blocks: count of independent blocks that ``wrong`` averages over: M S if every example has noise of its own,
            otherwise J S.
        fullness: mean size of a block as a share of the largest.
    """

    batches: Tensor
    examples: Tensor
    wrong: Tensor
    blocks: int
    fullness: float


@dataclass(frozen=True)
class PointwiseLikelihood:
    """Log-likelihood of every example under every draw, and the densities of the draws.

    Attributes:
        log_lik: log p(y | x, w) ``[K, S, M]``, nats; of a regression with the noise variance of the member.
        trained: the same under the likelihood of training, with the noise variance that it assumes; else ``log_lik`` itself.
        totals: log p(D | w) ``[K, S]`` of all examples, nats; with the noise variance integrated out.
        log_q: log density of the posterior at the draws ``[K, S]``, nats.
        square_norm: ‖w‖² of the draws ``[K, S]``.
    """

    log_lik: Tensor
    trained: Tensor
    totals: Tensor
    log_q: Tensor
    square_norm: Tensor


def expected(
    family: Family,
    data: Dataset,
    lams: Sequence[float],
    *,
    task: Task,
    n_samples: int,
    seed: int,
    n_data: int | None = None,
    integrated: bool = False,
) -> Expected:
    """Returns E_q log p(D | w), estimated from independent sweeps over the data.

    Where the likelihood has parameters of its own (the noise of a regression) they are integrated out, of all N = ``n_data``
    examples. What is returned then is linear in each example's squared error, around the mean of the sweeps, and adds up to
    the whole.

    Eight batches with noise of their own are worth more than one draw for all data, so there are 8 ``n_samples`` of them,
    in at least two sweeps and at most ``n_samples``.
    """
    runner = DrawRunner(family, data, task)
    fields = runner.fields(lams)
    count = -(-len(data) // _BATCH)
    sweeps = max(2, min(n_samples, -(-8 * n_samples // count)))
    batches = examples = torch.zeros(0)
    wrong = torch.zeros(len(lams), dtype=torch.float64)
    right = task.METRICS["accuracy"].each if "accuracy" in task.METRICS else None
    with without_gradients(), family.evaluating():
        for number, (rows, x, y) in enumerate(runner.batches()):
            for s in range(sweeps):
                out = runner.noisy(x, fields, lams, derive_seed(seed, "expected", s), number)
                parts = task.moments(out, y) if integrated else None
                each = runner.log_lik(out, y)[..., None] if parts is None else parts.double().cpu()
                if not len(batches):
                    batches = torch.zeros(len(lams), sweeps, count, each.shape[2]).double()
                    examples = torch.zeros(len(lams), len(data), each.shape[2]).double()
                batches[:, s, number] = each.sum(dim=1)
                examples[:, rows] += each / sweeps
                if right is not None:
                    wrong += len(y) - right(task, out, y).double().sum(dim=1).cpu()
    apart = runner.examples_apart
    if parts is None:
        batches, examples = batches[..., 0], examples[..., 0]
    else:
        batches, examples = _integrated(task, batches, examples, n_data or len(data))
    return Expected(
        batches=batches,
        examples=examples,
        wrong=wrong / (sweeps * len(data)) if right is not None else wrong + torch.nan,
        blocks=sweeps * (len(data) if apart else count),
        fullness=1.0 if apart else len(data) / (count * min(_BATCH, len(data))),
    )


def _integrated(
    task: Task, batches: Tensor, examples: Tensor, n_data: int
) -> tuple[Tensor, Tensor]:
    """Returns log-likelihoods ``[K, S, J]`` and ``[K, M]`` of statistics ``[K, S, J, T]`` and ``[K, M, T]``."""
    scale = n_data / examples.shape[1]
    found = [task.marginal(scale * sums.sum(dim=1).mean(dim=0), n_data) for sums in batches]
    slopes = torch.stack([slope for _, slope in found])
    sums = scale * batches.sum(dim=2).mean(dim=1)
    constant = torch.tensor([value for value, _ in found]) - (slopes * sums).sum(dim=1)
    sizes = torch.full((batches.shape[2],), float(_BATCH)).double()
    sizes[-1] = examples.shape[1] - _BATCH * (len(sizes) - 1)
    share = constant[:, None] / n_data
    whole = (batches * slopes[:, None, None]).sum(dim=3) + (share * sizes)[:, None]
    return -whole, -((examples * slopes[:, None]).sum(dim=2) + share)


def pointwise(
    family: Family,
    data: Dataset,
    lams: Sequence[float],
    *,
    task: Task,
    n_samples: int,
    seed: int,
    integrated: bool = False,
) -> PointwiseLikelihood:
    """Returns the log-likelihood of every example under S draws of the weights of each member.

    Raises:
        ConfigError: the numbers would not fit into memory.
    """
    columns = data.y[0].numel()
    count = len(lams) * n_samples * len(data) * columns
    if count > _MATRIX:
        raise ConfigError(
            f"{len(lams)} complexity values × {n_samples} draws × {len(data)} examples are {count:.1e} numbers to keep; "
            "look at fewer examples (n_examples), or at fewer values or draws"
        )
    runner, judge = DrawRunner(family, data, task.in_training()), DrawRunner(family, data, task)
    fields = runner.fields(lams)
    trained = torch.empty(len(lams), n_samples, len(data), dtype=family.dtype)
    judged = torch.empty_like(trained) if task.precision is not None else trained
    parts = torch.empty(0)
    log_q = torch.empty(len(lams), n_samples, dtype=torch.float64)
    square_norm = torch.empty_like(log_q)
    with without_gradients(), family.evaluating():
        for k in range(len(lams)):
            for first in range(0, n_samples, runner.at_once):
                some = slice(first, min(first + runner.at_once, n_samples))
                noise = [unit_noise(fields, seed, s) for s in range(some.start, some.stop)]
                flat, log_q[k, some] = weights(fields, k, torch.stack(noise))
                square_norm[k, some] = flat.double().square().sum(dim=1).cpu()
                for rows, x, y in runner.batches():
                    out = runner.run(x, flat, [lams[k]] * len(flat))
                    trained[k, some, rows] = runner.log_lik(out, y).to(trained)
                    if judged is not trained:
                        judged[k, some, rows] = judge.log_lik(out, y).to(trained)
                    each = task.moments(out, y) if integrated else None
                    if each is not None:
                        if not len(parts):
                            parts = trained.new_empty(*trained.shape, columns)
                        parts[k, some, rows] = each.to(parts)
    totals = judged.double().sum(dim=2)
    if len(parts):
        judged, totals = _with_noise(task, lams, parts, trained)
    return PointwiseLikelihood(judged, trained, totals, log_q, square_norm)


def _with_noise(
    task: Task, lams: Sequence[float], parts: Tensor, trained: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns log-likelihoods ``[K, S, M]`` with each member's noise and ``[K, S]`` with the noise integrated out.

    The noise is the one known of the family, else what the squared errors ``[K, S, M, T]`` of these examples say.
    """
    count, found, totals = parts.shape[2], [], []
    assumed = 1 / task.training_var(parts.shape[3])
    for lam, errors, under in zip(lams, parts, trained, strict=True):
        sums = errors.double().sum(dim=1)
        totals.append(torch.tensor([-task.marginal(each, count)[0] for each in sums]).double())
        here = task.at(lam)
        scale = (
            here.precision
            if here.precision is not None
            else 2 * task.marginal(sums.mean(dim=0), count)[1]
        )
        gain = 0.5 * (errors * (assumed - scale).to(errors)).sum(dim=2)
        found.append(under + gain + 0.5 * float((scale / assumed).log().sum()))
    return torch.stack(found), torch.stack(totals)


def unit_noise(fields: Fields, seed: int, draw: int) -> Tensor:
    """Returns the standard normal numbers ``[P]`` of one draw: the same for every λ."""
    source = generator(seed, "evidence", draw)
    noise = torch.randn(fields.layout.size, generator=source, dtype=fields.mean.dtype)
    return noise.to(fields.mean.device)


def weights(fields: Fields, k: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Returns draws ``[S, P]`` from the posterior of member k and the log density of each ``[S]`` in nats."""
    assert fields.log_std is not None and fields.var is not None
    flat = fields.mean[k] + fields.var[k].sqrt() * noise
    terms = -0.5 * noise.double().square() - fields.log_std[k].double() - _HALF_LOG_2PI
    if fields.kept is not None:
        terms = terms * fields.kept
    return flat, terms.sum(dim=1).cpu()


class DrawRunner:
    """Runs members of a family on batches of data: side by side where the network allows, else as exported.

    Args:
        family: the family, in evaluation mode while it runs.
        data: what it is run on.
        task: what the family predicts.
    """

    def __init__(self, family: Family, data: Dataset, task: Task) -> None:
        self.family, self._data, self._task = family, data, task
        self._like = family.like
        self._members = Members(family)
        self._shared_noise = False

    @property
    def at_once(self) -> int:
        """Members that run side by side at most."""
        return self._members.at_once

    @property
    def examples_apart(self) -> bool:
        """Whether every example had noise of its own in all calls of ``noisy``: linear layers alone, on flat inputs."""
        holders = [
            module
            for module in self.family.net.modules()
            if next(module.parameters(recurse=False), None) is not None
        ]
        return not self._shared_noise and all(type(module) is nn.Linear for module in holders)

    def fields(self, lams: Sequence[float]) -> Fields:
        """Returns the fields of the members ``[K, P]``."""
        with torch.no_grad():
            return self.family.fields_at(lams)

    def batches(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yields rows, inputs and targets of batches on the family's device."""
        for first in range(0, len(self._data), _BATCH):
            rows = slice(first, min(first + _BATCH, len(self._data)))
            index = torch.arange(rows.start, rows.stop, device=self._data.x.device)
            y = match(self._data.y[rows], self._like)
            yield rows, self._data.inputs(index, self._like), y

    def log_lik(self, out: Tensor, y: Tensor) -> Tensor:
        """Returns log p(y | x, w) ``[K, b]`` on the CPU, of outputs ``[K, b, ...]`` and targets ``[b, ...]``."""
        return -self._task.member_nll(out, y).double().cpu()

    def run(self, x: Tensor, flat: Tensor, lams: Sequence[float]) -> Tensor:
        """Returns outputs ``[K, b, ...]`` of networks with weights ``[K, P]``, each at its λ, on a batch that they share."""
        return self._members.run(x, flat, lams)

    def noisy(
        self, x: Tensor, fields: Fields, lams: Sequence[float], seed: int, step: int
    ) -> Tensor:
        """Returns outputs ``[K, b, ...]`` under fresh posterior noise, the same for every member.

        Noise of its own for every example is exact where a linear layer sees each example once, as on flat inputs; elsewhere
        the batch shares one draw of the weights.
        """
        members = fields.members
        if x.ndim == 2 and self._members.together(x, members):
            noise = _CommonNoise(seed, step, members, x.device)
            out = self.family.run(x, fields, fields.mean.new_zeros(members), noise, 1)
            return apart(out, members)
        self._shared_noise = True
        flat = fields.mean
        if fields.var is not None:
            flat = torch.addcmul(flat, fields.var.sqrt(), unit_noise(fields, seed, step))
        return self.run(x, flat, lams)


class _CommonNoise(Noise):
    """The same random numbers for all members."""

    def __init__(self, seed: int, step: int, members: int, device: torch.device) -> None:
        super().__init__(seed, step, [0], device)
        self._members = members

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return super().normal(*shape, dtype=dtype).expand(self._members, *shape)

    def uniform(self, *shape: int) -> Tensor:
        return super().uniform(*shape).expand(self._members, *shape)


_HALF_LOG_2PI = 0.9189385332046727
