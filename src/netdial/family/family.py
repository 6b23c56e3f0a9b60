"""Family: any network, with each of its leaves given by maps from the complexity value λ.

The network is an ordinary ``nn.Module`` that runs with other tensors in place of its own; nothing in it is rewritten. A member
is read off with ``at`` (parameters) or ``export`` (an ordinary module with nothing of netdial inside).

Sources: Grebenkova et al. 2022, §3 (hypernetworks for complexity control). Related: ``maps`` (λ -> fields),
``posterior`` (fields, divergence), ``posteriors`` (of other leaves), ``varying`` (the leaves as functions of λ), ``local``
(running a network under a posterior), ``buffers`` (BatchNorm).

Shapes: K members run at once, P numbers of the leaves, L complexity values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError, TraceError
from netdial.core.layout import Params
from netdial.core.noise import Noise
from netdial.core.outputs import failing_in_words, modes_kept, without_casting
from netdial.family.buffers import StatisticsBank
from netdial.family.config import FamilyConfig
from netdial.family.domain import Domain
from netdial.family.fields import Fields
from netdial.family.groups import by_name, grouped
from netdial.family.leaves import divide, exactly, held_layers, shares_by_layer
from netdial.family.running.apart import Apart
from netdial.family.running.chain import Chain
from netdial.family.running.pieces import at_once
from netdial.family.running.runner import Runner
from netdial.family.varying import Varying
from netdial.nets.foreign import check_exchangeable, check_initialised, copy_network, refresh
from netdial.objective import OBJECTIVES
from netdial.task import Task


class Family(Varying):
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
        by_objective = OBJECTIVES[config.objective].posterior if config.objective else "normal"
        posterior, others = grouped(self.net, leaves.varying, config.posterior, by_objective)
        self.frozen = leaves.frozen
        self.held = held_layers(self.net, leaves.frozen, config.freeze)
        self._shared_names = tuple(leaves.alike)
        self.config = config = replace(
            config,
            posterior=by_name(posterior, others),
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
        elsewhere = {name for leaves_ in others.values() for name in leaves_}
        weights = {n: leaf for n, leaf in leaves.varying.items() if n not in elsewhere}
        self._start(posterior, weights, others)
        self.statistics = StatisticsBank(self.net, self._rows, self.held)

    def _repr_html_(self) -> str:
        """Returns what it is as a table, for notebooks."""
        from netdial.report.plots import html_table

        about = {**self.config.in_words(), "parameters": self.n_params}
        return html_table([about], "family of networks")

    def extra_repr(self) -> str:
        """Returns what it is, as modules are shown."""
        about = {**self.config.in_words(), "parameters": self.n_params}
        return ", ".join(f"{name}: {value}" for name, value in about.items())

    @property
    def net(self) -> nn.Module:
        """The template network; its own parameter values are not used."""
        return self._template[0]

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
        groups = (group.layout for group in self.groups.values())
        varying = sum(layout.size for layout in (self.layout, *groups))
        return varying + sum(int(leaf.numel()) for leaf in self.shared)

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
    def at(self, lam: float) -> Params:
        """Returns the member at λ: mean weights of every leaf, and the shared parameters."""
        with torch.no_grad(), without_casting():
            fields = self.fields_at([lam])
            return self._tree(fields.mean[0], {n: v[0] for n, v in fields.group_means().items()})

    @checked
    def sample(self, lam: float, generator: torch.Generator) -> Params:
        """Returns one draw of the member's weights from the posteriors (the mean for a point), exact ones of relaxed kinds."""
        return self.sampler(lam)(generator)

    def sampler(self, lam: float) -> Callable[[torch.Generator], Params]:
        """Returns what draws as ``sample`` does at one λ, with the fields made once for all draws."""
        with torch.no_grad(), without_casting():
            fields = self.fields_at([lam])
            mean, var = fields.mean[0], fields.var
            std = None if var is None else var[0].sqrt()

        @torch.no_grad()
        def draw(generator: torch.Generator) -> Params:
            flat = mean
            if std is not None:
                noise = torch.randn(
                    flat.shape, generator=generator, dtype=flat.dtype, device=generator.device
                )
                flat = torch.addcmul(flat, std, noise.to(flat.device))
            stream = Noise.from_generator(generator)
            drawn = [group.sample(stream, temperature=0) for group in fields.groups]
            return self._tree(flat, {n: v[0] for group in drawn for n, v in group.items()})

        return draw

    @checked
    def buffers_at(self, lam: float) -> dict[str, Tensor]:
        """Returns the buffers of the member at λ: statistics along λ, everything else from the network."""
        found = dict(self.net.named_buffers())
        unit = float(self.domain.unit(torch.tensor([lam], dtype=torch.float64)))
        with without_casting():
            return {**found, **self.statistics.at(unit)}

    def outputs(self, params: Params, x: Tensor, lam: float) -> Tensor:
        """Returns the outputs of a member with the given parameters, in the network's current mode."""
        tree = {**params, **{k: v.clone() for k, v in self.buffers_at(lam).items()}}
        with failing_in_words(self.net, x):
            return cast(Tensor, functional_call(self.net, tree, (x.clone(),)))

    def predict(self, params: Params, x: Tensor | None = None, lam: float | None = None) -> Tensor:
        """Returns the outputs of a member with the given parameters, as ``outputs`` does; called with rows it is refused.

        A family that ``load_model`` returns predicts from rows of a table instead, if its file says how.
        """
        if x is None or lam is None or not isinstance(params, Mapping):
            raise ConfigError(
                "Family.predict: takes (params, x, lam); family(x, lam=…) gives outputs of a member, and what nd.load_model "
                "reads of a file that nd.save(family, path, data=…) wrote predicts from rows"
            )
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

    def one_by_one(
        self, x: Tensor, fields: Fields, unit: Tensor, noise: Noise, shared: int = 0
    ) -> Apart:
        """Returns K members to be run one after another; arguments as of ``run``."""
        units = unit.tolist()

        def others(row: int) -> Params:
            return self._others(self.statistics.cell(units[row]))

        return Apart(self._runner, x, fields, noise, shared or fields.members, others)

    def at_once(self, x: Tensor, blocks: int, members: int) -> int:
        """Returns how many of K members a step on inputs in n blocks should make at once."""
        numbers = self.layout.size + sum(group.layout.size for group in self.groups.values())
        mean: Any = self.mean
        pivots = sum(p.numel() for p in mean.parameters()) // self.layout.size
        activations = 0
        if blocks < members and self._runner.knows_layers and not self.statistics.names:
            examples = len(x) // blocks
            activations = self._runner.plan(x, blocks).numbers * examples
        return at_once(numbers, pivots, activations=activations, blocks=blocks)

    def side_by_side(self, x: Tensor, blocks: int, members: int) -> bool:
        """Returns whether K members can run at once on inputs in n blocks; see ``Runner.side_by_side``."""
        if self.statistics.names:
            return False

        def run(x: Tensor, fields: Fields, blocks: int) -> Tensor:
            with self.evaluating():
                return self._runner.run(x, fields, self._others({}), None, blocks)

        return self._runner.side_by_side(x, blocks, members, run)

    def plot_layers(self, lams: int | Sequence[float] = 17) -> object:
        """Returns the share of each layer's parameters that counts, over λ, as a plotly figure.

        Under a posterior these are the effective parameters, else the fewest weights that carry 99 % of the layer's norm.
        """
        from netdial.report.plots import layers_plot

        at = self.lams(lams)
        words = "effective" if self.is_random else "carry 99 % of the squared norm"
        return layers_plot(at, shares_by_layer(self, at), f"parameters of each layer: {words}")

    @property
    def chain(self) -> Chain | None:
        """The network as a chain of linear layers and pointwise functions, or None if it is none."""
        return self._runner.chain

    def _others(self, statistics: Params) -> Params:
        """Returns what members do not have each for itself: shared parameters, and statistics."""
        return {**dict(zip(self._shared_names, self.shared, strict=True)), **statistics}

    def _apply(self, fn: Any, recurse: bool = True) -> Family:
        """Moves the template network too (its buffers are used) when the family is moved or changes its type."""
        self.net._apply(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _tree(self, flat: Tensor, others: Params) -> Params:
        tree = {**self.layout.split(flat), **others}
        tree.update(
            (n, leaf.detach()) for n, leaf in zip(self._shared_names, self.shared, strict=True)
        )
        return tree

    @functools.cached_property
    def _runner(self) -> Runner:
        groups = (group.layout for group in self.groups.values())
        return Runner(self.net, self.layout, tuple(groups))


def _bare(net: nn.Module, paths: Sequence[str]) -> list[str]:
    """Returns those of some layers that have no parameters."""
    return [path for path in paths if not any(True for _ in net.get_submodule(path).parameters())]
