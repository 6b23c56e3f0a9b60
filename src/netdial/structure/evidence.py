"""Evidence over structures: what each network of a space is worth by training data alone, and their posterior probabilities.

Two levels (Bishop 2006, ch. 3.4; MacKay 1992): the weights of a structure Γ are inferred, and structures compared by

    p(D | Γ) = ∫ p(D | w, Γ) p(w | Γ) dw,        p(Γ | D) ∝ p(D | Γ) p(Γ).

``laplace`` expands at trained weights, with the whole Gauss-Newton matrix (of large networks Kronecker factors and diagonals),
a prior variance for each leaf that maximises the evidence, and the first-order term of weights that are no mode, which makes it
exact for models linear in their weights. ``elbo`` is the bound of a mean-field normal posterior under N(0, 1).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from netdial.core.errors import ConfigError, NonFiniteError, unknown
from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.data.memory.weights import unweighted
from netdial.evidence import assess
from netdial.evidence.estimators.laplace import laplace
from netdial.structure.derived import DerivedNetwork, derive
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import SearchSpace
from netdial.structure.search.training import losses, train_network
from netdial.task import Task
from netdial.task.rehearsal import admit_training, advise
from netdial.train.config import FitConfig, TrainConfig, make
from netdial.train.direct import fit_direct

EvidenceWay = Literal["laplace", "elbo"]
EVIDENCE_WAYS: tuple[EvidenceWay, ...] = get_args(EvidenceWay)

_MOST_WHOLE = 1000
"""Parameters up to which Laplace's method takes the whole matrix."""


@dataclass(frozen=True)
class WeighedStructure:
    """A structure and its evidence.

    Attributes:
        genotype: the structure.
        log_evidence: log p(D | Γ) of the training part in nats, or a bound of it; minus infinity if training diverged.
        seconds: processor time that training and weighing took.
    """

    genotype: Genotype
    log_evidence: float
    seconds: float


@dataclass(frozen=True)
class StructureWeights:
    """Structures with their evidence, in the order in which they were given.

    Attributes:
        way: ``laplace`` or ``elbo``.
        rows: the structures.
        log_prior: log p(Γ) of each, up to a constant.
    """

    way: EvidenceWay
    rows: tuple[WeighedStructure, ...]
    log_prior: tuple[float, ...]

    @property
    def posterior(self) -> list[float]:
        """p(Γ | D) of each structure, of those that were weighed; they sum to 1."""
        logs = [
            row.log_evidence + prior for row, prior in zip(self.rows, self.log_prior, strict=True)
        ]
        found: list[float] = torch.tensor(logs, dtype=torch.float64).softmax(0).tolist()
        return found

    @property
    def best(self) -> WeighedStructure:
        """The structure of largest posterior probability."""
        probabilities = self.posterior
        return self.rows[max(range(len(self.rows)), key=lambda at: probabilities[at])]


def weigh_structures(
    space: SearchSpace,
    genotypes: Sequence[Genotype],
    data: Data,
    config: TrainConfig | None = None,
    *,
    way: EvidenceWay = "laplace",
    kind: str | Task | None = None,
    log_prior: Mapping[Genotype, float] | None = None,
) -> StructureWeights:
    """Trains structures from fresh weights and returns their evidence; no validation data are needed.

    Args:
        space: the search space.
        genotypes: structures that are weighed, one at least.
        data: training part, all of which is trained on.
        config: settings of training, on one device in 32-true or 64-true.
        way: ``laplace`` or ``elbo``.
        kind: what is predicted; by default what the targets suggest.
        log_prior: log p(Γ) up to a constant; by default all structures alike.

    Raises:
        ConfigError: there are no structures, the way is unknown, every training diverged, or settings do not go with evidence.
        DataError: the data cannot be used, or have weights.
    """
    if way not in EVIDENCE_WAYS:
        raise unknown("way to weigh structures", way, EVIDENCE_WAYS)
    if not genotypes:
        raise ConfigError("genotypes: is empty; give one structure at least")
    config = config or make(TrainConfig, {})
    if config.class_weight is not None:
        raise ConfigError(
            "class_weight: evidence is of examples as they are; leave it out to weigh structures"
        )
    if config.devices > 1 or config.precision == "bf16-mixed":
        raise ConfigError(
            f"devices={config.devices}, precision={config.precision}: structures are weighed on one device, in 32-true or "
            "64-true"
        )
    networks = (derive(space, genotype) for genotype in genotypes)
    largest = max(networks, key=lambda net: sum(p.numel() for p in net.parameters()))
    part, task = admit_training(largest, data, kind)
    advise(task, part)
    if not isinstance(part, Dataset):
        raise ConfigError("evidence is that of data in memory; give tensors, not a loader")
    unweighted(part, "weigh_structures")
    rows = []
    for genotype in genotypes:
        begun = time.process_time()
        network = derive(space, genotype, seed=config.seed)
        network = network.double() if config.precision == "64-true" else network
        try:
            value = (
                _laplace(network, part, task, config)
                if way == "laplace"
                else _elbo(network, part, task, config)
            )
        except NonFiniteError:
            value = -math.inf
        rows.append(WeighedStructure(space.genotype(genotype), value, time.process_time() - begun))
    if not any(math.isfinite(row.log_evidence) for row in rows):
        raise ConfigError("training diverged for every structure; lower lr, or set clip to 1")
    prior = tuple((log_prior or {}).get(row.genotype, 0.0) for row in rows)
    return StructureWeights(way, tuple(rows), prior)


def _laplace(network: DerivedNetwork, data: Dataset, task: Task, config: TrainConfig) -> float:
    """Returns the Laplace evidence at weights that are trained here.

    That of a network without parameters is its likelihood, of numbers under the noise of its errors, as for the others.
    """
    if not any(True for _ in network.parameters()):
        found = _log_likelihood(network, data, task)
        if task.targets != "numbers":
            return found
        count = data.y.numel()
        squares = -2 * found - count * math.log(2 * math.pi)
        noise_var = max(squares / count, torch.finfo(torch.float32).tiny)
        return -0.5 * count * (math.log(2 * math.pi * noise_var) + 1)
    train_network(network, data, task.in_training(), config)
    return weigh_network(network, data, task)


def weigh_network(network: DerivedNetwork, data: Dataset, task: Task) -> float:
    """Returns log p(D | Γ) in nats by Laplace's method at the weights of a network that is trained."""
    count = sum(p.numel() for p in network.parameters())
    found = laplace(
        network,
        data,
        kind=task,
        structure="full" if count <= _MOST_WHOLE else "kronecker",
        optimise_prior="per-leaf",
        optimise_noise=task.targets == "numbers",
        first_order=True,
    )
    return found.log_evidence


def _elbo(network: DerivedNetwork, data: Dataset, task: Task, config: TrainConfig) -> float:
    """Returns the evidence lower bound of a mean-field normal posterior, trained under N(0, 1)."""
    if not any(True for _ in network.parameters()):
        return _log_likelihood(network, data, task)
    shared = {n: v for n, v in config if n in TrainConfig.model_fields and n != "strategy"}
    settings = make(FitConfig, {**shared, "objective": "scaled-kl", "map": "table", "lams": (1.0,)})
    (family,) = fit_direct(network, data, lams=[1.0], kind=task, config=settings)
    (found,) = assess(family, data, lams=[1.0], by=["elbo"], kind=task)
    return -found.value * math.log(2) * len(data)


def _log_likelihood(network: DerivedNetwork, data: Dataset, task: Task) -> float:
    with evaluating(network):
        return -float(losses(network, data, task).sum())
