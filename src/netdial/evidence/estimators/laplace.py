"""The Laplace evidence of one network: log p(D) from the curvature of its loss at its weights μ.

    log p(D) ≈ log p(D | μ) + log N(μ | 0, S) + (P/2) log 2π - ½ log det(H + S⁻¹)             (Bishop 2006, eq. 4.137)
             = -fit - complexity,     complexity = ½ [μᵀ S⁻¹ μ + log det(1 + S^½ H S^½)]

H is the Gauss-Newton matrix (its diagonal, Kronecker factors, or the whole of it), S the prior variances, one for each leaf
(MacKay 1992; Immer et al. 2021). On linear models with normal noise and the whole matrix this is exact, μ being the mode.

**Which prior a member has** (``prior_of``). The complexity λ‖w‖² of ``l2`` is a prior of *precision* 2λ, not λ; under
``scaled-prior`` the prior variance is α/λ; under ``scaled-kl`` it is α for every λ, and λ is the temperature of the posterior.

**Where μ is.** The expansion wants a mode of p(D | w) p(w). A member of ``l2`` is one, if training has converged. The mean of a
variational posterior is near one at λ = 1 alone: at other λ of ``scaled-kl`` it is near the mode of another, tempered
posterior. Then a first-order term is left, g the gradient of -log p(D, w) at μ, and the integral gains

    correction = ½ gᵀ (H + S⁻¹)⁻¹ g        (half the squared Newton decrement: 0 at a mode)

It is always reported; ``first_order=True`` adds it. That makes linear models exact at any μ. On others a correction of many
nats says that the nearest mode is far outside what a quadratic describes, and that neither number should be trusted.

**Prior variances from the data** maximise the evidence (see ``quadratic``). Without the correction it is concave in their
logarithms, and s_l = ‖μ_l‖²/γ_l at the optimum (MacKay 1992; Bishop 2006, eq. 3.92). No step lowers it.

Shapes: N examples, P parameters, L leaves, V log variances.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError, unknown
from netdial.core.layout import Params
from netdial.core.registry import Registry
from netdial.curvature import diagonal, full, gradient, kronecker
from netdial.curvature.precision import Block, DenseBlock, DiagonalBlock, KroneckerBlock
from netdial.data.dataset import Dataset
from netdial.data.memory.weights import unweighted
from netdial.evidence.estimators.quadratic import Quadratic, minimise
from netdial.family.family import Family
from netdial.nets.foreign import copy_network
from netdial.objective import OBJECTIVES
from netdial.task import Task
from netdial.task.rehearsal import admit

WAYS = ("none", "shared", "per-leaf", "with-noise")
"""Ways to optimise prior variances: leave them, one for all leaves, one for each, all in proportion to the noise variance."""

Data = Dataset | tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class LaplaceEvidence:
    """What Laplace's method says of one network; all terms in nats of the whole data set.

    Attributes:
        log_evidence: log p(D), ``-fit - complexity``, and ``+ correction`` with ``first_order``.
        fit: -log p(D | μ).
        complexity: ½ [μᵀ S⁻¹ μ + log det(1 + S^½ H S^½)].
        correction: what the gradient at μ adds; 0 at a mode.
        effective_parameters: γ, between 0 and P.
        prior_var: prior variance of each leaf.
        noise_var: variance of the noise of a regression; 1 for classification.
        losses: the terms of ``fit``, one for each example ``[N]``.
        history: the log evidence at the given variances and after every step of their optimisation, never falling.
        converged: whether no variance that was to be optimised can still be improved.
    """

    log_evidence: float
    fit: float
    complexity: float
    correction: float
    effective_parameters: float
    prior_var: dict[str, float]
    noise_var: float
    losses: Tensor
    history: tuple[float, ...]
    converged: bool


def laplace(
    net: nn.Module,
    data: Data,
    *,
    prior_var: float | Mapping[str, float] = 1.0,
    structure: str = "diagonal",
    kind: str | Task | None = None,
    optimise_prior: str = "none",
    noise_var: float = 1.0,
    optimise_noise: bool = False,
    first_order: bool = False,
    kept: Mapping[str, Tensor] | None = None,
    batch_size: int = 256,
) -> LaplaceEvidence:
    """Returns the Laplace evidence of a network at its weights.

    Args:
        net: the network, for example ``family.export(lam)``.
        data: the training data, a ``Dataset`` or a pair of tensors.
        prior_var: variance of the normal prior, one for all or by parameter name; where optimisation starts.
        structure: ``diagonal``; ``kronecker`` (blocks of linear and convolutional layers, the diagonal for other
            parameters); ``full`` (up to 5,000 parameters, in double precision).
        kind: the task: a name, or a ``Task``; by default what the targets suggest.
        optimise_prior: ``none``, ``shared`` (one variance for all leaves), ``per-leaf``, or ``with-noise`` (all in
            proportion to σ²; goes with ``optimise_noise``).
        noise_var: σ² of a regression.
        optimise_noise: whether to re-optimise σ² too.
        first_order: whether to add the first-order correction, and to optimise with it.
        kept: bool by parameter, shaped like it: numbers that have a posterior. What was pruned, or is not of the model whose
            evidence is asked for, is False. Parameters without a mask are kept.
        batch_size: examples run at once.

    Raises:
        ConfigError: an option is unknown, a variance is not positive, or options do not go together.
        ShapeError: a mask does not fit its parameter.
        DataError: the data have weights.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(net.weight)
    >>> found = laplace(net, (torch.ones(3, 1), torch.zeros(3, 1)), kind="regression")
    >>> round(found.complexity, 4), found.effective_parameters   # ½ log(1 + 3), 3 / (3 + 1)
    (0.6931, 0.75)
    """
    part, task = admit(net, data, kind, part="training part")
    unweighted(part, "laplace")
    _check_options(structure, task, optimise_prior, noise_var, optimise_noise)
    if structure == "full":
        net = copy_network(net).double()
    losses, slope = gradient(net, part, kind=task, batch_size=batch_size)
    weights = {name: leaf.detach() for name, leaf in net.named_parameters()}
    masks = _masks(weights, kept)
    blocks = STRUCTURES[structure](net, part, task, masks, batch_size)
    names = [name for block in blocks for name in block.names]
    columns = part.y[0].numel() if task.targets == "numbers" else 0
    energies = losses.double() - 0.5 * columns * math.log(2 * math.pi)
    quadratic = Quadratic(
        blocks=blocks,
        weights={name: weights[name][masks[name]].double() for name in names},
        slope={name: slope[name][masks[name]].double() for name in names},
        energy=float(energies.sum()),
        count=columns * len(part),
        first_order=first_order,
    )
    log_var = _variances(prior_var, names).log()
    if optimise_prior == "shared":
        log_var = log_var.mean().expand(len(names))
    log_var = torch.cat([log_var, log_var.new_tensor([math.log(noise_var)])])
    log_var, point, values, stationary = minimise(
        quadratic.at, log_var, _directions(len(names), optimise_prior, optimise_noise)
    )
    *variances, noise_var = log_var.exp().tolist()
    found = dict(zip(names, variances, strict=True))
    return LaplaceEvidence(
        log_evidence=-point.value,
        fit=point.fit,
        complexity=point.complexity,
        correction=point.correction,
        effective_parameters=point.effective,
        prior_var={name: found[name] for name in weights if name in found},
        noise_var=noise_var,
        losses=energies / noise_var + 0.5 * columns * math.log(2 * math.pi * noise_var),
        history=tuple(-value for value in values),
        converged=stationary,
    )


def prior_of(family: Family, lam: float, objective: str) -> float:
    """Returns the variance of the normal prior that a member of a family has, for ``laplace``.

    1/(2λ) under ``l2``, whose complexity λ‖w‖² is ‖w‖²/(2s²); α/λ under ``scaled-prior``; α under ``scaled-kl``, where λ is not
    in the prior: the member approximates the tempered posterior p(w) p(D | w)^(1/λ), and its mean is a mode of the posterior
    itself at λ = 1 only.

    Raises:
        ConfigError: the objective has no normal prior with one variance.
    """
    prior_var = OBJECTIVES[objective].prior_var
    if prior_var is None:
        allowed = [name for name in OBJECTIVES if OBJECTIVES[name].prior_var is not None]
        raise ConfigError(
            f"prior_of: objective {objective!r} has no normal prior of one variance (allowed: {', '.join(allowed)}); give "
            "laplace a prior_var of your own, or optimise_prior='per-leaf'"
        )
    return float(prior_var(torch.tensor([lam], dtype=torch.float64), family.config.prior_var)[0])


Build = Callable[[nn.Module, Data, Task, Params, int], list[Block]]
STRUCTURES: Registry[Build] = Registry("structure")


@STRUCTURES.add("diagonal")
def _diagonal(
    net: nn.Module, data: Data, task: Task, masks: Params, batch_size: int
) -> list[Block]:
    found = diagonal(net, data, kind=task, batch_size=batch_size)
    return [
        DiagonalBlock(name, found[name][mask].double())
        for name, mask in masks.items()
        if mask.any()
    ]


@STRUCTURES.add("kronecker")
def _kronecker(
    net: nn.Module, data: Data, task: Task, masks: Params, batch_size: int
) -> list[Block]:
    cut = [name for name, mask in masks.items() if mask.any() and not mask.all()]
    if cut:
        raise ConfigError(
            f"laplace: {cut[0]!r} is kept in part, and factors cannot leave out single numbers; use "
            "structure='diagonal', or 'full' for a small network"
        )
    blocks: list[Block] = []
    for factors in kronecker(net, data, kind=task, batch_size=batch_size).values():
        leaves = [name for name in (factors.weight, factors.bias) if name is not None]
        if all(bool(masks[name].all()) for name in leaves):
            blocks.append(KroneckerBlock(factors))
    covered = {name for block in blocks for name in block.names}
    rest = {name: mask for name, mask in masks.items() if name not in covered}
    if any(bool(mask.any()) for mask in rest.values()):
        blocks += _diagonal(net, data, task, rest, batch_size)
    return blocks


@STRUCTURES.add("full")
def _full(net: nn.Module, data: Data, task: Task, masks: Params, batch_size: int) -> list[Block]:
    index = torch.cat([mask.flatten() for mask in masks.values()]).nonzero()[:, 0]
    matrix = full(net, data, kind=task, batch_size=batch_size)[index][:, index]
    sizes = {name: int(mask.sum()) for name, mask in masks.items() if mask.any()}
    return [DenseBlock(tuple(sizes), tuple(sizes.values()), matrix)]


def _directions(leaves: int, optimise_prior: str, optimise_noise: bool) -> Tensor:
    """Returns how log variances may move ``[L + 1, F]``, the last that of the noise."""
    if optimise_prior == "with-noise":
        return torch.ones(leaves + 1, 1).double()
    ways = {
        "none": torch.zeros(leaves, 0),
        "shared": torch.ones(leaves, 1),
        "per-leaf": torch.eye(leaves),
    }
    found: Tensor = torch.block_diag(ways[optimise_prior], torch.ones(1, int(optimise_noise)))
    return found.double()


def _masks(weights: Params, kept: Mapping[str, Tensor] | None) -> Params:
    """Returns what is kept of every parameter.

    Raises:
        ShapeError: a mask does not fit.
        ConfigError: a mask has the name of no parameter, or nothing is kept.
    """
    given = dict(kept or {})
    for name, mask in given.items():
        if name not in weights:
            raise unknown("parameter", name, weights)
        if mask.dtype != torch.bool or mask.shape != weights[name].shape:
            raise ShapeError(
                f"laplace: kept[{name!r}] is {mask.dtype} {list(mask.shape)}, expected torch.bool "
                f"{list(weights[name].shape)}"
            )
    masks = {
        name: given[name].to(leaf.device) if name in given else torch.ones_like(leaf).bool()
        for name, leaf in weights.items()
    }
    if not any(bool(mask.any()) for mask in masks.values()):
        raise ConfigError("laplace: kept leaves no parameter; keep at least one number")
    return masks


def _variances(prior_var: float | Mapping[str, float], names: Sequence[str]) -> Tensor:
    """Returns the prior variance of every leaf ``[L]``."""
    if isinstance(prior_var, Mapping):
        missing = [name for name in names if name not in prior_var]
        if missing:
            raise ConfigError(f"laplace: prior_var has no variance for {', '.join(missing)}")
        found = torch.tensor([float(prior_var[name]) for name in names], dtype=torch.float64)
    else:
        found = torch.full((len(names),), float(prior_var), dtype=torch.float64)
    if not bool((found > 0).all() & found.isfinite().all()):
        raise ConfigError(f"laplace: prior_var={prior_var}; expected positive variances")
    return found


def _check_options(
    structure: str, task: Task, optimise_prior: str, noise_var: float, optimise_noise: bool
) -> None:
    """Refuses options that are unknown or do not go together."""
    STRUCTURES[structure]
    if optimise_prior not in WAYS:
        raise unknown("way to optimise the prior", optimise_prior, WAYS)
    if optimise_prior == "with-noise" and not optimise_noise:
        raise ConfigError("laplace: optimise_prior='with-noise' goes with optimise_noise=True")
    if not 0 < noise_var < math.inf:
        raise ConfigError(f"laplace: noise_var={noise_var:g}; expected a positive variance")
    if task.targets != "numbers" and (optimise_noise or noise_var != 1):
        raise ConfigError(
            f"laplace: noise_var={noise_var:g}, optimise_noise={optimise_noise} with a {task.name}; only a regression has "
            "noise"
        )
