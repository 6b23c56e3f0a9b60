"""Runner: the network of a family, run for K members at once, or for one.

Shapes: K members run at once, n blocks of b examples in a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from netdial.core.errors import ShapeError, TraceError
from netdial.core.inputs.adapted import packing_of
from netdial.core.layout import Layout, Params
from netdial.core.noise import Noise, seeded
from netdial.core.outputs import failing_in_words, without_gradients
from netdial.family.fields import Fields
from netdial.family.groups import random_points
from netdial.family.running.chain import Chain
from netdial.family.running.mode import Leaf, MemberMode
from netdial.family.running.rerun import Absent, Kept, following, run_kept
from netdial.family.running.sampling import DrawPlan, Prepared, Rehearsal
from netdial.family.running.sockets import Sockets

_SIDE_BY_SIDE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Runner:
    """Runs a network with members of a family in place of its own parameters.

    Args:
        net: the network; its layers stay the same from now on.
        layout: leaves that members have each for themselves.
        groups: such leaves under other posteriors.

    Attributes:
        chain: the network as a chain, or None if it is none.
    """

    def __init__(self, net: nn.Module, layout: Layout, groups: Sequence[Layout] = ()) -> None:
        self._net = net
        self._layout = layout
        self._groups = groups
        self.chain = Chain.of(net, layout)
        self._sockets = Sockets(net)
        self._runs_again: dict[bool, bool] = {}
        self._agreed: dict[tuple[int, ...], bool] = {}
        self._plans: dict[tuple[int, ...], DrawPlan] = {}

    @property
    def _names(self) -> list[str]:
        """Names of the leaves that members have each for themselves."""
        return [name for layout in (self._layout, *self._groups) for name in layout.names]

    def run(
        self,
        x: Tensor,
        fields: Fields,
        others: Mapping[str, Tensor],
        noise: Noise | None,
        blocks: int,
    ) -> Tensor:
        """Returns outputs ``[K b, ...]``, member after member.

        Args:
            x: inputs ``[n b, ...]``.
            fields: fields of the K members.
            others: parameters and buffers that all K have in common.
            noise: random numbers; None runs the means.
            blocks: n.

        Raises:
            TraceError: the network does not return one tensor, or runs again in backward by means that are not known.
            ShapeError: the fields lack leaves.
        """
        if self.chain is not None and noise is not None and self.chain.takes(x):
            self._check(fields)
            return self.chain.run(x, *fields.flats(), noise, blocks)
        prepared = self.prepare(x, fields, noise, blocks)
        return self.run_prepared(x, prepared, prepared.tensors, others, noise, blocks)

    def prepare(self, x: Tensor, fields: Fields, noise: Noise | None, blocks: int) -> Prepared:
        """Returns what K members put in place of the network's leaves, drawn at once.

        Args:
            x: inputs ``[n b, ...]``.
            fields: fields of the K members.
            noise: random numbers; None gives the means.
            blocks: n.

        Raises:
            ShapeError: the fields lack leaves.
        """
        self._check(fields)
        others: Params = {}
        for group in fields.groups:
            others |= group.means() if noise is None else group.sample(noise)
        if noise is None:
            return Prepared.of(self._layout, (fields.mean, None), None, None, others)
        flats = fields.flats()
        plan = self.plan(x, blocks) if flats[1] is not None else None
        return Prepared.of(self._layout, flats, plan, noise, others)

    def run_prepared(
        self,
        x: Tensor,
        prepared: Prepared,
        tensors: Sequence[Tensor],
        others: Mapping[str, Tensor],
        noise: Noise | None,
        blocks: int,
    ) -> Tensor:
        """Returns outputs ``[K b, ...]`` of members with prepared leaves.

        Args:
            x: inputs ``[n b, ...]``.
            prepared: how the leaves lie in the tensors.
            tensors: those of K members, or of one of them.
            others: parameters and buffers that all have in common.
            noise: random numbers for what is not drawn yet.
            blocks: n.
        """

        def run(x: Tensor, tensors: Sequence[Tensor], *, keep: bool = True) -> Kept:
            return self._run(x, prepared.leaves(tensors), others, noise, blocks, keep=keep)

        training = self._net.training
        watched = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if watched and self._runs_again.get(training, True):
            return run_kept(
                run, x, tensors, lambda again: self._runs_again.update({training: again})
            )
        return run(x, tensors, keep=False).out

    def plan(self, x: Tensor, blocks: int) -> DrawPlan:
        """Returns how the leaves are drawn on such inputs, from a run of the network on the examples of one member.

        It depends on the network and on shapes alone, so that the same step draws the same numbers in any process. The run
        leaves no trace: buffers are copies, and global generators are put back.
        """
        examples = x.shape[0] // blocks
        key = (self._net.training, examples, *x.shape[1:])
        if key not in self._plans:
            parameters = dict(self._net.named_parameters())
            held: Params = {n: parameters[n].detach() for n in self._names}
            mode = Rehearsal(held, examples, x.device)
            held |= {name: buffer.clone() for name, buffer in self._net.named_buffers()}
            one = x[:examples].clone()
            with (
                self._sockets.holding(held),
                seeded("plan"),
                without_gradients(),
                mode,
                failing_in_words(self._net, one),
            ):
                self._net(one)
            self._plans[key] = mode.plan(self._layout)
        return self._plans[key]

    def _check(self, fields: Fields) -> None:
        if len(fields.groups) != len(self._groups):
            raise ShapeError(
                f"fields of {len(fields.groups)} groups of leaves, the family has {len(self._groups)}; give Fields(groups=…)"
            )

    def _run(
        self,
        x: Tensor,
        found: Mapping[str, Leaf],
        others: Mapping[str, Tensor],
        noise: Noise | None,
        blocks: int,
        *,
        keep: bool,
    ) -> Kept:
        leaves = {
            name: (leaf.mean[0] if len(leaf.mean) == 1 else leaf.mean, leaf)
            for name, leaf in found.items()
        }
        tree = {name: placeholder for name, (placeholder, _) in leaves.items()} | dict(others)
        mode = MemberMode(leaves, examples=x.shape[0] // blocks, shared=blocks, noise=noise)

        def over() -> AbstractContextManager[None]:
            absent: Params = {n: Absent.instead_of(n, leaf) for n, (leaf, _) in leaves.items()}
            return self._sockets.holding(absent)

        @contextmanager
        def again() -> Iterator[None]:
            # buffers are copies: what the first run noted of the batch is not to be noted twice
            held = {n: t if n in leaves or t.requires_grad else t.clone() for n, t in tree.items()}
            with self._sockets.holding(held), following(mode, again), mode:
                yield

        kept = following(mode, again) if keep else nullcontext()
        with self._sockets.holding(tree), kept, mode, failing_in_words(self._net, x):
            out = self._net(x.clone())  # code may change its inputs in place
        if not isinstance(out, Tensor):
            raise TraceError(
                f"the network returned a {type(out).__name__}, expected one tensor of outputs; wrap it in a module "
                "that returns the tensor to be scored"
            )
        return Kept(out, over, mode)

    @functools.cached_property
    def knows_layers(self) -> bool:
        """Whether every leaf belongs to a layer that can run members side by side."""
        return _known_layers(self._net, self._names)

    @functools.cached_property
    def _packs_tokens(self) -> bool:
        """Whether one of several inputs that lie in one tensor is of whole numbers."""
        packing = packing_of(self._net)
        kinds = () if packing is None else packing.dtypes
        return any(not getattr(torch, kind).is_floating_point for kind in kinds)

    def side_by_side(
        self, x: Tensor, blocks: int, members: int, run: Callable[[Tensor, Fields, int], Tensor]
    ) -> bool:
        """Returns whether K members can run at once: known layers only, and checked on this input.

        The check runs random members at once and one by one and compares; a network that mixes examples, or moves the
        batch to another dimension, fails it and is run member by member. Too few examples to tell are replaced by random
        ones, unless they are tokens.

        Args:
            x: inputs ``[n b, ...]``.
            blocks: n.
            members: K.
            run: runs members on blocks of inputs in evaluation mode.
        """
        tokens = not x.is_floating_point() or self._packs_tokens
        enough = not tokens or len(x) >= 2 * blocks
        key = (members, blocks, enough, *x.shape[1:])
        if key not in self._agreed:
            self._agreed[key] = (
                enough and self.knows_layers and self._agrees(x[: 2 * blocks], blocks, members, run)
            )
        return self._agreed[key]

    def _agrees(
        self, x: Tensor, blocks: int, members: int, run: Callable[[Tensor, Fields, int], Tensor]
    ) -> bool:
        if len(x) < 2 * blocks:
            fresh = torch.Generator().manual_seed(1)
            x = torch.randn(2 * blocks, *x.shape[1:], generator=fresh).to(x)
        source = torch.Generator().manual_seed(0)
        flat = torch.randn(members, self._layout.size, generator=source).to(x) * 0.3
        groups = random_points(self._groups, members, source, x)
        fields = Fields(self._layout, flat, groups=groups)
        try:
            with without_gradients(), torch.autocast(x.device.type, enabled=False):
                whole = run(x, fields, blocks)
                pieces = [piece for piece in x.chunk(blocks) for _ in range(members // blocks)]
                single = [run(piece, fields.member(row), 1) for row, piece in enumerate(pieces)]
            return torch.allclose(whole, torch.cat(single), rtol=1e-3, atol=1e-4)
        except Exception:  # whatever its code raises on such batches; what is wrong with the data is said in training
            return False


def _known_layers(net: nn.Module, names: Sequence[str]) -> bool:
    """Returns whether every leaf belongs to a layer that can run members side by side."""
    kinds = {cls.__name__ for cls in _SIDE_BY_SIDE}
    kind_of = {
        f"{path}.{name}" if path else name: type(module).__name__
        for path, module in net.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }
    return all(kind_of[name] in kinds for name in names)
