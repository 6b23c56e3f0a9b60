"""What is written as a program: a network, its λ, where to, and inputs to trace it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError, first_line
from netdial.core.inputs import AnyOneTensor, PartedInputs, as_packed, is_several, packing_of
from netdial.core.noise import generator
from netdial.core.outputs import contents_kept
from netdial.data.dataset import match
from netdial.models.programs.calls import ByPosition


@dataclass(frozen=True)
class ExportJob:
    """What an exporter works on: the network, its λ, where to write, inputs to trace on, meta, whether pruned, card."""

    net: nn.Module
    lam: float
    path: Path
    example: Any
    meta: dict[str, Any]
    pruned: bool
    card: str | None

    @property
    def program(self) -> nn.Module:
        """What is traced: the network, called with its inputs by position, that gives plain dicts and tuples."""
        return ByPosition(self.net) if isinstance(self.net, AnyOneTensor) else self.net

    def inputs(self) -> tuple[Tensor, ...]:
        """Returns at least two examples that the network has been seen to take, of each of its inputs."""
        packing = packing_of(self.net)
        if packing is None:
            return (self._input(),)
        given = self.example
        if is_several(given):
            named = isinstance(given, Mapping)
            parts = packing.arranged(() if named else given, given if named else {})
            given, given_as = as_packed(parts, packing.names, f"{self.path}: example")
            if not given_as.fits(packing):
                raise ShapeError(f"example: inputs {given_as}; this network takes {packing}")
        if given is None:
            raise ConfigError(
                f"{self.path}: this format traces the network; give example=, its inputs {packing}"
            )
        given = given.detach().cpu()
        with torch.no_grad():
            found: tuple[Tensor, ...] = PartedInputs(packing)(
                given if len(given) > 1 else torch.cat([given] * 2)
            )
        return found

    def _input(self) -> Tensor:
        x = self.example
        if is_several(x):
            parts = list(x.values() if isinstance(x, Mapping) else x)
            if len(parts) != 1:
                raise ShapeError(
                    f"{self.path}: example: {len(parts)} inputs; this network takes one"
                )
            (x,) = parts
        if x is None and self.meta.get("net"):
            x = torch.zeros(2, *self.meta["net"]["input_shape"])
        if x is None or x.ndim < 1 or len(x) < 1:
            raise ConfigError(
                f"{self.path}: this format traces the network; give example=, a tensor of inputs [B, ...]"
            )
        x = x.detach().cpu()
        x = x if len(x) > 1 else torch.cat([x, x])
        like = next((p for p in self.net.parameters() if p.is_floating_point()), x)
        if x.is_floating_point() and not bool(x.any()):
            x = torch.randn(x.shape, generator=generator("export"), dtype=like.dtype)
        refused = self._refused(x)
        if refused and x.is_floating_point() and not self._refused(alike := match(x, like)):
            return alike  # as in training, whose data may be in another precision
        if refused:
            raise ShapeError(
                f"example of shape {list(x.shape)}, {x.dtype}: the network does not take it ({refused})"
            )
        checked: Tensor = x
        return checked

    def _refused(self, x: Tensor) -> str:
        """Returns what the network says of inputs that it does not take; empty if it takes them."""
        try:
            with torch.no_grad(), contents_kept(self.net):
                self.net(x)
        except (RuntimeError, ValueError, IndexError) as error:
            return first_line(error)
        return ""
