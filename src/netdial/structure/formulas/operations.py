"""Operations of formulas: inputs, elementary functions with constants of their own, operators; each knows how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.core.errors import unknown

_LARGEST = 10.0


@dataclass(frozen=True)
class Elementary:
    """An elementary function that is finite everywhere.

    Attributes:
        function: of tensors.
        text: how it is written, with ``{}`` for its argument; any calculator gives the same numbers.
        shifted: whether its argument has a constant added to it.
    """

    function: Callable[[Tensor], Tensor]
    text: str
    shifted: bool = True


FUNCTIONS: Mapping[str, Elementary] = {
    "id": Elementary(lambda x: x, "{}", shifted=False),
    "square": Elementary(torch.square, "({})^2"),
    "sqrt": Elementary(lambda x: x.abs().clamp_min(1e-12).sqrt(), "sqrt(abs({}))"),
    "log": Elementary(lambda x: torch.log1p(x.abs()), "log(1 + abs({}))"),
    "exp": Elementary(lambda x: x.clamp_max(_LARGEST).exp(), f"exp(min({{}}, {_LARGEST:g}))"),
    "sin": Elementary(torch.sin, "sin({})"),
    "tanh": Elementary(torch.tanh, "tanh({})"),
}


class InputNumber(nn.Module):
    """One of the inputs, ``[B, ...]`` to ``[B, 1]``."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        """Returns the input ``index``, flattened inputs counted from 0."""
        return x.flatten(1)[:, self.index : self.index + 1]

    def extra_repr(self) -> str:
        """Returns which, for printing."""
        return str(self.index)


class Unary(nn.Module):
    """f(a x + b) of one number, f an elementary function."""

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in FUNCTIONS:
            raise unknown("elementary function", name, FUNCTIONS)
        self.name = name
        self.scale = nn.Parameter(torch.randn(()) * 0.5 + 1.0)
        self.shift = nn.Parameter(torch.randn(()) * 0.5) if FUNCTIONS[name].shifted else None

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``[B, 1]``."""
        inner = self.scale * x
        return FUNCTIONS[self.name].function(inner if self.shift is None else inner + self.shift)

    def written(self, inner: str, number: Callable[[float], str]) -> str:
        """Returns the text of the function of an argument."""
        text = times(self.scale.item(), inner, number)
        if self.shift is not None:
            text = plus(text, self.shift.item(), number)
        return FUNCTIONS[self.name].text.format(text)

    def extra_repr(self) -> str:
        """Returns which, for printing."""
        return self.name


class Operator(nn.Module):
    """The sum or the product of two numbers, ``[B, 2]`` to ``[B, 1]``."""

    def __init__(self, sign: str) -> None:
        super().__init__()
        if sign not in ("+", "*"):
            raise unknown("operator", sign, ("+", "*"))
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``[B, 1]``."""
        if self.sign == "+":
            return x.sum(dim=1, keepdim=True)
        return x.prod(dim=1, keepdim=True)

    def written(self, parts: Sequence[str]) -> str:
        """Returns the text of the sum or the product; a part that is not there is 0."""
        if self.sign == "+":
            return f"({' + '.join(parts)})" if len(parts) > 1 else parts[0]
        return f"({' * '.join(f'({part})' for part in parts)})" if len(parts) > 1 else "0"

    def extra_repr(self) -> str:
        """Returns which, for printing."""
        return self.sign


def times(factor: float, text: str, number: Callable[[float], str]) -> str:
    """Returns the text of a product with a constant."""
    return text if number(factor) == "1" else f"{number(factor)} * {text}"


def plus(text: str, constant: float, number: Callable[[float], str]) -> str:
    """Returns the text of a sum with a constant."""
    if number(abs(constant)) == "0":
        return text
    return f"{text} {'-' if constant < 0 else '+'} {number(abs(constant))}"
