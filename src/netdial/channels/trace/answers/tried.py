"""Whether a graph that goes on as if there were some is right where there are none: tried with other weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from netdial.channels.nodes import user_line
from netdial.channels.trace.answers.questions import Place
from netdial.channels.trace.training import Differs, check_same, twice

_SEED = 1705
_DRAWS = 24
"""How often other weights are drawn at most, so that there are some of something and none."""


def check_answers(
    net: nn.Module, traced: fx.GraphModule, example: Tensor, asked: Collection[Place]
) -> None:
    """Refuses a graph that goes on as if there were some, unless that is what its network does where there are none.

    An expert without tokens adds nothing, whether its code asks or not. So both are compared for other weights, drawn until
    every question was answered by yes and by no.

    Args:
        net: the network; its parameters are left as they were.
        traced: its graph; the parameters are the same objects.
        example: inputs.
        asked: files and lines of the questions.

    Raises:
        Differs: they give something else, or a question has always the same answer.
    """
    held = list(net.parameters())
    before = [p.detach().clone() for p in held]
    answers = _Answers()
    source = torch.Generator().manual_seed(_SEED)
    try:
        for _ in range(_DRAWS):
            if all(len(answers.given[at]) > 1 for at in asked):
                break
            with answers:
                twice(net, example)
            check_same(net, traced, example)
            for p, was in zip(held, before, strict=True):
                size, shift = torch.rand(2, generator=source, dtype=torch.float64).tolist()
                drawn_now = torch.randn(p.shape, generator=source, dtype=torch.float64).to(p)
                size = 4 * size * float(was.std(correction=0)) + 4 * shift * (p.dim() == 1)
                p.data.copy_(was + size * drawn_now)
    finally:
        for p, was in zip(held, before, strict=True):
            p.data.copy_(was)
    for file, line in sorted(asked):
        if len(answers.given[file, line]) < 2:
            raise Differs(
                f"network {type(net).__name__}: asks whether there are any at {Path(file).name}:{line}, and what it does where "
                "there are none could not be tried"
            )


class _Answers(TorchFunctionMode):
    """Notes the answers to questions that code asks of tensors.

    Attributes:
        given: file and line -> answers there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.given: defaultdict[Place, set[bool]] = defaultdict(set)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what a function of torch gives."""
        found = func(*args, **(kwargs or {}))
        if func in (Tensor.__bool__, Tensor.item) and (at := user_line()) is not None:
            self.given[at].add(bool(found))
        return found
