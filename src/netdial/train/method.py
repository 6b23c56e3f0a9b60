"""The method: what one optimiser step does to a family (Grebenkova et al. 2022, Algorithm 1).

A step draws complexity values, runs each on its group of examples, adds up weighted objectives and moves the maps. Which
values a group gets is the only difference between the ways of training:

- stratified: the batch is split into K groups, one value from each of K strata of the log range. The cost is that of one
  network, the estimate of the expectation over λ is unbiased, and every step sees the whole range.
- independent: k values drawn independently, each sees the whole batch (the papers' way, k = 5).
- rows: a table map; each row sees the whole batch of its seed. This trains networks directly, many at once.

Shapes: K values, n blocks of b examples in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import DataError, NonFiniteError
from netdial.core.noise import Noise, derive_seed, generator
from netdial.core.schedules import Schedule, linear_warmup
from netdial.family.family import Family
from netdial.family.maps import TableMap
from netdial.objective import LIKELIHOODS, OBJECTIVES, WEIGHTINGS, Likelihood, Terms
from netdial.train.config import FitConfig
from netdial.train.feed import Batch
from netdial.train.optimiser import make_optimizer, make_scheduler


@dataclass
class State:
    """What training changes."""

    family: Family
    optimizer: torch.optim.Optimizer
    scheduler: Any
    step: int = 0
    best: float = float("inf")
    waited: int = 0

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values, for a checkpoint."""
        return {
            "family": dict(self.family.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {"last_epoch": self.scheduler.last_epoch, "lr": self.scheduler.get_last_lr()},
            "step": self.step,
            "best": self.best,
            "waited": self.waited,
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes over what ``tree`` gave."""
        self.family.load_state_dict(tree["family"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.scheduler.last_epoch = tree["scheduler"]["last_epoch"]
        self.scheduler._last_lr = tree["scheduler"]["lr"]
        self.step, self.best, self.waited = tree["step"], tree["best"], tree["waited"]


@dataclass(frozen=True)
class Workers:
    """This process among the processes that train together."""

    rank: int = 0
    count: int = 1
    fabric: Any = None

    def sum_(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""
        if self.count > 1:
            for tensor in tensors:
                tensor.copy_(self.fabric.all_reduce(tensor, reduce_op="sum"))

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the context in which the network runs."""
        return self.fabric.autocast() if self.fabric is not None else nullcontext()


class FamilyMethod:
    """Steps for a family under a configuration.

    Args:
        config: settings.
        kind: ``classification`` or ``regression``.
        n_data: N, training examples.
        steps: batches in an epoch.
        workers: the processes that train together.
    """

    def __init__(
        self, config: FitConfig, *, kind: str, n_data: int, steps: int, workers: Workers | None = None
    ) -> None:
        self.config = config
        self.workers = workers or Workers()
        self._likelihood: Likelihood = LIKELIHOODS[kind]
        self._penalty = OBJECTIVES[config.objective]
        self._weight = WEIGHTINGS[config.weighting]
        self._n_data = n_data
        self._steps = steps
        self._warmup: Schedule = linear_warmup(config.warmup * steps)

    def init(self, family: Family) -> State:
        """Returns the state before the first step."""
        optimizer = make_optimizer(family, self.config)
        total = self.config.epochs * self._steps
        return State(family, optimizer, make_scheduler(optimizer, self.config, total))

    def step(self, state: State, batch: Batch) -> tuple[Tensor, Terms]:
        """Makes one optimiser step.

        Returns:
            Unit coordinates ``[K]`` of the values seen, and the terms ``[K]`` before the step; on several processes
            those of this process's groups.

        Raises:
            NonFiniteError: a term is not a finite number; the maps have not been moved by it.
        """
        family = state.family
        unit, blocks = self._draw(family, state.step, len(batch[1]))
        state.optimizer.zero_grad(set_to_none=True)
        seen, fits, penalties = [], [], []
        for groups, x, y, shared in self._chunks(family, unit, blocks, batch):
            terms = self._terms(state, unit[groups], groups, x, y, shared)
            self._check(state, unit[groups], terms)
            weight = self._weight(self._lam(family, unit[groups], x))
            share = weight / len(unit)
            ((terms.fit + self._warmup(state.step) * terms.complexity) * share).sum().backward()
            seen.append(unit[groups])
            fits.append(terms.fit.detach())
            penalties.append(terms.complexity.detach())
        self._finish(state)
        return torch.cat(seen), Terms(torch.cat(fits), torch.cat(penalties))

    def _finish(self, state: State) -> None:
        parameters = [p for p in state.family.parameters() if p.grad is not None]
        self.workers.sum_([p.grad for p in parameters if p.grad is not None])
        if self.config.clip:
            torch.nn.utils.clip_grad_norm_(parameters, self.config.clip)
        state.optimizer.step()
        state.scheduler.step()
        state.step += 1

    def _draw(self, family: Family, step: int, size: int) -> tuple[Tensor, int]:
        """Returns unit coordinates ``[K]`` and n, the blocks of examples that the batch holds."""
        config = self.config
        if isinstance(family.mean, TableMap):
            return family.mean.rows, max(len(family.mean.rows) // max(len(config.lams), 1), 1)
        source = generator(config.seed, "lam", step)
        if config.sampling == "independent":
            return family.domain.sample(config.groups, source), 1
        count = min(config.groups, size) // self.workers.count * self.workers.count
        if count == 0:
            raise DataError(
                f"a batch of {size} examples cannot be divided among {self.workers.count} processes; use a larger batch"
            )
        return family.domain.stratified(count, source), count

    def _chunks(self, family: Family, unit: Tensor, blocks: int, batch: Batch) -> Any:
        """Yields (group numbers, x, y, blocks in x): all of this process's groups at once if possible, else one by one."""
        x, y = batch
        size = len(y) // blocks
        mine = list(range(self.workers.rank, len(unit), self.workers.count))
        per_block = len(unit) // blocks
        whole = len(mine) == len(unit)
        if whole and len(unit) > 1 and family.side_by_side(x[: blocks * size], blocks, len(unit)):
            yield mine, x[: blocks * size], y[: blocks * size], blocks
            return
        for group in mine:
            block = slice(group // per_block * size, (group // per_block + 1) * size)
            yield [group], x[block], y[block], 1

    def _terms(
        self, state: State, unit: Tensor, groups: list[int], x: Tensor, y: Tensor, shared: int
    ) -> Terms:
        family, members = state.family, len(unit)
        seed = self.config.seed
        lam = self._lam(family, unit, x)
        fields = family.fields(unit.to(x.device))
        penalty = self._penalty(fields, lam, self.config.prior_var)
        noise = None
        if fields.log_std is not None:
            noise = Noise(seed, state.step, groups, device=x.device)
        with self.workers.autocast(), _network_seed(family, derive_seed(seed, state.step, groups[0])):
            outputs = family(x, fields, unit, noise, shared)
        targets = y.unflatten(0, (shared, -1)).repeat_interleave(members // shared, dim=0)
        nll = self._likelihood(outputs.to(fields.mean.dtype), targets.flatten(0, 1))
        return Terms(nll.view(members, -1).mean(dim=1), penalty / self._n_data)

    def _lam(self, family: Family, unit: Tensor, x: Tensor) -> Tensor:
        return family.domain.lam(unit).to(device=x.device, dtype=family.dtype)

    def _check(self, state: State, unit: Tensor, terms: Terms) -> None:
        for name, values in terms._asdict().items():
            if bool(torch.isfinite(values.sum())):
                continue
            worst = int((~torch.isfinite(values)).int().argmax())
            lam = float(state.family.domain.lam(unit[worst : worst + 1]))
            raise NonFiniteError(
                f"step {state.step}: {name} is {float(values[worst])} at lam={lam:g}; {_blame(state.family)}; "
                "lower lr, set clip=1, or check the data for huge values"
            )


def _blame(family: Family) -> str:
    bad = [name for name, p in family.named_parameters() if not bool(torch.isfinite(p).all())]
    if not bad:
        return "all parameters are finite, so the network's output overflowed"
    leaves = set()
    for mapped in (family.mean, family.log_std):
        if mapped is not None:
            for name, value in family.layout.split(mapped(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))).items():
                if not bool(torch.isfinite(value).all()):
                    leaves.add(name)
    return f"not finite: {', '.join(sorted(leaves) or bad)}"


@contextmanager
def _network_seed(family: Family, seed: int) -> Iterator[None]:
    """Seeds the global generator for layers that draw from it (dropout), and puts it back afterwards."""
    if not (family.draws and family.net.training):
        yield
        return
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
