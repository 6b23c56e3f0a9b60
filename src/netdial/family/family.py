"""Family: any network, with each of its leaves given by maps from the complexity value λ.

The network is an ordinary ``nn.Module`` that runs with other tensors in place of its own; nothing in it is rewritten. A member
is read off with ``at`` (parameters) or ``export`` (an ordinary module with nothing of netdial inside).

Sources: Grebenkova et al. 2022, §3 (hypernetworks for complexity control). Related: ``maps`` (λ -> fields),
``posterior`` (fields, divergence), ``local`` (running a network under a posterior), ``buffers`` (BatchNorm).

Shapes: K members run at once, P numbers of the leaves, L complexity values.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from netdial.core.arguments import checked, checked_fields
from netdial.core.errors import ConfigError, ShapeError, TraceError
from netdial.core.layout import Layout, Params
from netdial.core.noise import Noise
from netdial.core.outputs import failing_in_words, modes_kept
from netdial.family.blend import Blend
from netdial.family.buffers import StatisticsBank
from netdial.family.domain import Domain
from netdial.family.leaves import divide, exactly, held_layers
from netdial.family.maps import MAPS, Map, MapOptions, PiecewiseMap, TableMap
from netdial.family.posterior import Fields
from netdial.family.running.runner import Runner
from netdial.nets.foreign import check_exchangeable, check_initialised, copy_network, refresh
from netdial.objective import OBJECTIVES
from netdial.task import Task


@checked_fields
@dataclass(frozen=True)
class FamilyConfig:
    """Settings of a family: map, posterior, prior and range of λ.

    Attributes:
        lo, hi: range of complexity values.
        map: name of the map: linear, piecewise, lowrank, gated, table.
        regions: regions of the piecewise-linear map.
        hidden: hidden width of the low-rank map.
        posterior: ``normal`` (diagonal) or ``point``.
        prior_var: α, the variance of the prior N(0, α I); the papers use 1.
        log_std: starting log standard deviation; the papers use -3.
        freeze: patterns of parameters that are not trained, beside those with ``requires_grad=False``; see ``leaves``.
        shared: patterns of parameters that are trained, and the same for every λ. In ``Family.config`` both are names, so
            that a family made again from it, on any network of the architecture, divides its parameters alike.
        lams: complexity values of the rows of a table map.
        seed: seed of any random start of a map.
        objective: what the family is trained under, so that what reads it later knows what its members mean; see
            ``Family.objective``.
        task: what the family predicts and how it is scored; None before it is trained.
        n_data: N, examples that the family was trained on; None before it is trained.
    """

    lo: float = 1e-3
    hi: float = 1e2
    map: str = "piecewise"
    regions: int = 5
    hidden: int = 50
    posterior: Literal["normal", "point"] = "normal"
    prior_var: float = 1.0
    log_std: float = -3.0
    freeze: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    lams: tuple[float, ...] = ()
    seed: int = 0
    objective: str | None = None
    task: Task | None = None
    n_data: int | None = None


class Family(nn.Module):
    """A network for every complexity value in a range.

    Args:
        net: the network; it is copied and its parameters are the starting point of every member.
        config: see ``FamilyConfig``.

    Attributes:
        shared: parameters that are the same for every λ; those that are frozen do not require gradients.
        frozen: names of the frozen parameters.
        held: names of the normalisation layers that are frozen with their running statistics; they stay in evaluation mode.

    Raises:
        ConfigError: the network has no parameters that could vary with λ, cannot be used as it is, or an option is not
            allowed.
    """

    @checked
    def __init__(self, net: nn.Module, config: FamilyConfig | None = None) -> None:
        super().__init__()
        config = config or FamilyConfig()
        self.domain = Domain(config.lo, config.hi)
        if config.posterior not in ("normal", "point"):
            raise ConfigError(f"posterior={config.posterior!r}; allowed: normal, point")
        if not config.prior_var > 0:
            raise ConfigError(f"prior_var={config.prior_var}; expected a positive variance")
        if isinstance(net, Family):
            raise ConfigError(
                "net is a Family already; give a network: family.export(lam) returns one, nd.finetune trains a member further"
            )
        check_exchangeable(net)
        check_initialised(net)
        self._template = [copy_network(net)]
        leaves = divide(self.net, freeze=config.freeze, shared=config.shared)
        self.layout = Layout.of(leaves.varying)
        self.frozen = leaves.frozen
        self.held = held_layers(self.net, leaves.frozen, config.freeze)
        self._shared_names = tuple(leaves.alike)
        self.config = config = replace(
            config,
            freeze=exactly((*leaves.frozen, *_bare(self.net, self.held))),
            shared=exactly(n for n in leaves.alike if n not in leaves.frozen),
        )
        self.shared = nn.ParameterList(
            [
                nn.Parameter(leaf.detach().clone(), n not in leaves.frozen)
                for n, leaf in leaves.alike.items()
            ]
        )
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name not in leaves.frozen)
        start = self.layout.join(leaves.varying).detach()
        self.mean = self._map(start, additive=False)
        self.log_std: Map | None = None
        if config.posterior == "normal":
            self.log_std = self._map(torch.full_like(start, config.log_std), additive=True)
        self.kept: Tensor | None
        self.register_buffer("kept", None)
        self.statistics = StatisticsBank(self.net, self._rows, self.held)

    @property
    def net(self) -> nn.Module:
        """The template network; its own parameter values are not used."""
        return self._template[0]

    @property
    def objective(self) -> str:
        """What the family is trained under; if nobody said, ``scaled-kl``, or ``l2`` for points."""
        return self.config.objective or ("scaled-kl" if self.log_std is not None else "l2")

    @property
    def task(self) -> Task | None:
        """What the family predicts and how it is scored, the default of all that scores it; None if nobody said."""
        return self.config.task

    @property
    def n_data(self) -> int | None:
        """N, examples that the family was trained on; None if it was not trained."""
        return self.config.n_data

    def learns(self, task: Task, n_data: int | None) -> None:
        """Notes what the family is trained for, and on how many examples."""
        self.config = replace(self.config, task=task, n_data=n_data)

    @property
    def n_params(self) -> int:
        """Count of parameters of one member."""
        return self.layout.size + sum(int(leaf.numel()) for leaf in self.shared)

    def train(self, mode: bool = True) -> Family:
        """Sets training or evaluation mode of the family and of its network; layers that are held stay in evaluation."""
        self.net.train(mode)
        for path in self.held:
            self.net.get_submodule(path).eval()
        return super().train(mode)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Holds the family in evaluation mode for a while."""
        with modes_kept(self, self.net):
            self.eval()
            yield

    @checked
    def lams(self, asked: int | Sequence[float]) -> list[float]:
        """Returns complexity values: those given, or so many evenly over the range, or those of a table.

        Raises:
            ConfigError: none are given, or one lies outside the trained range.
        """
        if isinstance(asked, int):
            return list(self.config.lams) or self.domain.grid(asked)
        values = [float(lam) for lam in asked]
        if not values:
            raise ConfigError("lams: the list of complexity values is empty; give at least one")
        self.domain.unit(torch.tensor(values, dtype=torch.float64))
        return values

    def fields(self, unit: Tensor) -> Fields:
        """Returns the posterior's fields of all leaves at unit coordinates ``[L]``."""
        if isinstance(self.mean, PiecewiseMap):
            shares = self.mean.coefficients(unit).to(self.mean.pivots)
            mean, spread = Blend(shares, self.mean.pivots), None
            if isinstance(self.log_std, PiecewiseMap):
                spread = Blend(shares, self.log_std.pivots)
            return self._fields(mean, spread)
        log_std = self.log_std(unit) if self.log_std is not None else None
        return self._fields(self.mean(unit), log_std)

    def rows(self, here: slice) -> Fields:
        """Returns the fields of some rows of a table map, several of which may stand at one complexity value."""
        tables = [table for table in (self.mean, self.log_std) if isinstance(table, TableMap)]
        pivots = [table.pivots for table in tables]
        whole = here == slice(0, len(pivots[0]))
        mean, *spread = (part if whole else part[here] for part in pivots)
        return self._fields(mean, spread[0] if spread else None)

    @checked
    def fields_at(self, lams: Sequence[float] | Tensor) -> Fields:
        """Returns the posterior's fields at complexity values, refusing those outside the trained range."""
        return self.fields(
            self.domain.unit(torch.as_tensor(lams, dtype=torch.float64)).to(self.device)
        )

    @checked
    def restrict(self, kept: Tensor) -> None:
        """Prunes every member, for good: what is not kept is 0, without variance, divergence or gradient.

        Args:
            kept: bool ``[P]`` in the order of the layout. What was pruned before stays so.

        Raises:
            ShapeError: ``kept`` is not bool ``[P]``.
        """
        if kept.dtype != torch.bool or kept.shape != (self.layout.size,):
            raise ShapeError(
                f"restrict: kept is {kept.dtype} {list(kept.shape)}, expected torch.bool [{self.layout.size}]"
            )
        kept = kept.to(self.device)
        self.kept = kept.clone() if self.kept is None else self.kept & kept

    @checked
    def at(self, lam: float) -> Params:
        """Returns the member at λ: mean weights of every leaf, and the shared parameters."""
        with torch.no_grad():
            return self._tree(self.fields_at([lam]).mean[0])

    @checked
    def sample(self, lam: float, generator: torch.Generator) -> Params:
        """Returns one draw of the member's weights from the posterior (the mean for a point)."""
        with torch.no_grad():
            fields = self.fields_at([lam])
            flat = fields.mean[0]
            if fields.var is not None:
                noise = torch.randn(
                    flat.shape, generator=generator, dtype=flat.dtype, device=generator.device
                )
                flat = torch.addcmul(flat, fields.var[0].sqrt(), noise.to(flat.device))
            return self._tree(flat)

    @checked
    def kl(self, lams: Sequence[float] | Tensor, prior_var: Tensor | None = None) -> Tensor:
        """Returns KL(posterior || prior) in nats ``[L]``.

        The prior is N(0, α I) unless variances ``[L]`` are given; under ``ard`` it is the one that was fitted.
        """
        fields = self.fields_at(lams)
        if prior_var is None and OBJECTIVES[self.objective].fitted_prior:
            return fields.relevance()
        if prior_var is None:
            prior_var = fields.mean.new_full((fields.mean.shape[0],), self.config.prior_var)
        return fields.kl(prior_var)

    @checked
    def effective_parameters(self, lams: Sequence[float] | Tensor) -> Tensor:
        """Returns how many parameters the data determine ``[L]``, Σ (1 - σ²/s²) (MacKay 1992).

        s² is α; under ``ard`` it is each number's own, μ² + σ².
        """
        fields = self.fields_at(lams)
        if OBJECTIVES[self.objective].fitted_prior:
            return fields.effective_parameters(fields.fitted_prior())
        return fields.effective_parameters(
            fields.mean.new_full((fields.members,), self.config.prior_var)
        )

    @checked
    def buffers_at(self, lam: float) -> dict[str, Tensor]:
        """Returns the buffers of the member at λ: statistics along λ, everything else from the network."""
        found = dict(self.net.named_buffers())
        unit = float(self.domain.unit(torch.tensor([lam], dtype=torch.float64)))
        return {**found, **self.statistics.at(unit)}

    def outputs(self, params: Params, x: Tensor, lam: float) -> Tensor:
        """Returns the outputs of a member with the given parameters, in the network's current mode."""
        tree = {**params, **{k: v.clone() for k, v in self.buffers_at(lam).items()}}
        with failing_in_words(self.net, x):
            return cast(Tensor, functional_call(self.net, tree, (x,)))

    def predict(self, params: Params, x: Tensor, lam: float) -> Tensor:
        """Returns the outputs of a member with the given parameters, as ``outputs`` does.

        A family that ``load_model`` returns predicts from rows of a table instead, if its file says how.
        """
        return self.outputs(params, x, lam)

    @checked
    def export(self, lam: float) -> nn.Module:
        """Returns the member at λ as an ordinary module in evaluation mode, with nothing of netdial inside."""
        net = copy_network(self.net)
        state = {**self.at(lam), **self.buffers_at(lam)}
        with torch.no_grad():
            for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
                tensor.copy_(state[name])
        return refresh(net.eval())

    def cut(self, name: str, dim: int, keep: Tensor) -> tuple[Map, Map | None]:
        """Returns the maps with one dimension of a leaf cut to the indices that survive."""
        log_std = self.log_std.cut(name, dim, keep) if self.log_std is not None else None
        return self.mean.cut(name, dim, keep), log_std

    @checked
    def forward(self, x: Tensor, lam: float | Sequence[float]) -> Tensor:
        """Returns outputs of the member at λ, run by its mean weights in the family's current mode.

        In evaluation mode they are those of ``export(lam)``. Gradients reach the maps. In training mode normalisation layers
        use the batch and update the statistics at λ, as they do in any network.

        Args:
            x: inputs ``[B, ...]``.
            lam: a complexity value; or several ``[L]``, each of which sees all inputs.

        Returns:
            Outputs ``[B, ...]``; for several values ``[L, B, ...]``.

        Raises:
            ConfigError: a value lies outside the trained range.
            TraceError: the network fails on these inputs.
        """
        lams = self.lams([lam] if isinstance(lam, int | float) else lam)
        fields = self.fields_at(lams)
        units = self.domain.unit(torch.tensor(lams, dtype=torch.float64)).tolist()
        runs = []
        for row, unit in enumerate(units):
            one = fields.member(row)
            varying = self.statistics.cell if self.net.training else self.statistics.at
            with failing_in_words(self.net, x):
                runs.append(self._runner.run(x, one, self._others(varying(unit)), None, 1))
        return runs[0] if isinstance(lam, int | float) else torch.stack(runs)

    def run(
        self, x: Tensor, fields: Fields, unit: Tensor, noise: Noise | None = None, shared: int = 0
    ) -> Tensor:
        """Runs K members on a batch that holds their groups of examples one after another.

        Args:
            x: inputs ``[n b, ...]``.
            fields: fields of the K members.
            unit: their unit coordinates ``[K]``, which choose the statistics that are used and updated.
            noise: random numbers for sampling the posterior; None runs the means.
            shared: n, blocks of examples in x; 0 means K.

        Returns:
            Outputs ``[K b, ...]``, member after member.
        """
        members = fields.members
        blocks = shared or members
        if members == 1 or self.side_by_side(x, blocks, members):
            others = self._others(self.statistics.cell(float(unit[0])))
            return self._runner.run(x, fields, others, noise, blocks)
        raise TraceError("Family.run: this network runs one member at a time")

    def side_by_side(self, x: Tensor, blocks: int, members: int) -> bool:
        """Returns whether K members can run at once on inputs in n blocks; see ``Runner.side_by_side``."""
        if self.statistics.names:
            return False

        def run(x: Tensor, fields: Fields, blocks: int) -> Tensor:
            with self.evaluating():
                return self._runner.run(x, fields, self._others({}), None, blocks)

        return self._runner.side_by_side(x, blocks, members, run)

    def _others(self, statistics: Params) -> Params:
        """Returns what members do not have each for itself: shared parameters, and statistics."""
        return {**dict(zip(self._shared_names, self.shared, strict=True)), **statistics}

    def _map(self, start: Tensor, *, additive: bool) -> Any:
        config = self.config
        options = MapOptions(
            regions=config.regions,
            hidden=config.hidden,
            rows=self._rows,
            additive=additive,
            seed=config.seed,
        )
        return MAPS[config.map].start(self.layout, start, options)

    @property
    def _rows(self) -> tuple[float, ...]:
        """Unit coordinates of directly trained networks; none unless the map is a table."""
        lams = self.config.lams if self.config.map == "table" else ()
        return tuple(self.domain.unit(torch.tensor(lams, dtype=torch.float64)).tolist())

    def _apply(self, fn: Any, recurse: bool = True) -> Family:
        """Moves the template network too (its buffers are used) when the family is moved or changes its type."""
        self.net._apply(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _tree(self, flat: Tensor) -> Params:
        tree = self.layout.split(flat)
        tree.update(
            (n, leaf.detach()) for n, leaf in zip(self._shared_names, self.shared, strict=True)
        )
        return tree

    @functools.cached_property
    def draws(self) -> bool:
        """Whether the network itself draws random numbers in training (dropout in any form)."""
        rates = (getattr(m, key, 0.0) for m in self.net.modules() for key in ("p", "dropout"))
        return any(isinstance(rate, float) and rate > 0 for rate in rates)

    def _fields(self, mean: Tensor | Blend, log_std: Tensor | Blend | None) -> Fields:
        return Fields(self.layout, mean, log_std, self.kept, whole=self._runner.whole)

    @functools.cached_property
    def _runner(self) -> Runner:
        return Runner(self.net, self.layout)

    @property
    def like(self) -> Tensor:
        """A tensor of the number type and on the device of the leaves."""
        found: Tensor = next(self.mean.parameters()).detach()
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the leaves."""
        return self.like.dtype

    @property
    def device(self) -> torch.device:
        """Where the leaves are."""
        return self.like.device


def _bare(net: nn.Module, paths: Sequence[str]) -> list[str]:
    """Returns those of some layers that have no parameters."""
    return [path for path in paths if not any(True for _ in net.get_submodule(path).parameters())]
