"""Operations of convolutional cells, for signals and for images: the set of DARTS (Liu, Simonyan & Yang 2019, section 3.1).

All keep the number of channels; with a stride of 2 they halve lengths, rounded up. Shapes: B examples, C channels, then one
length for signals or two for images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from netdial.structure.graph.operations import Factory, ZeroOperation

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_MAXIMA = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
_MEANS = {1: nn.AvgPool1d, 2: nn.AvgPool2d}


@dataclass(frozen=True)
class ConvolutionSet:
    """Makes operations for so many dimensions and channels.

    Attributes:
        dimensions: 1 for signals, 2 for images.
        channels: channels C of the cell.
    """

    dimensions: int
    channels: int

    def convolution(
        self, inputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> nn.Module:
        """Returns a convolution to C channels without a bias, padded to keep lengths."""
        made: nn.Module = _CONVOLUTIONS[self.dimensions](
            inputs,
            self.channels,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        return made

    def norm(self) -> nn.Module:
        """Returns batch normalisation of C channels."""
        made: nn.Module = _NORMS[self.dimensions](self.channels)
        return made

    def plain(self, inputs: int, stride: int = 1) -> nn.Module:
        """Returns ReLU, convolution of kernel 1, normalisation."""
        return nn.Sequential(nn.ReLU(), self.convolution(inputs, 1, stride), self.norm())

    def stem(self, inputs: int) -> nn.Module:
        """Returns convolution of kernel 3, normalisation."""
        return nn.Sequential(self.convolution(inputs, 3), self.norm())

    def dilated(self, kernel: int, stride: int) -> nn.Module:
        """Returns ReLU, depthwise convolution of dilation 2, convolution of kernel 1, normalisation."""
        return nn.Sequential(
            nn.ReLU(),
            self.convolution(self.channels, kernel, stride, 2, self.channels),
            self.convolution(self.channels),
            self.norm(),
        )

    def separable(self, kernel: int, stride: int) -> nn.Module:
        """Returns twice: ReLU, depthwise convolution, convolution of kernel 1, normalisation."""
        halves = [
            layer
            for step in (stride, 1)
            for layer in (
                nn.ReLU(),
                self.convolution(self.channels, kernel, step, 1, self.channels),
                self.convolution(self.channels),
                self.norm(),
            )
        ]
        return nn.Sequential(*halves)

    def pooling(self, kind: str, stride: int) -> nn.Module:
        """Returns a pooling of kernel 3, normalisation."""
        if kind == "max":
            pool: nn.Module = _MAXIMA[self.dimensions](3, stride, 1)
        else:
            pool = _MEANS[self.dimensions](3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, self.norm())

    def skip(self, stride: int) -> nn.Module:
        """Returns the identity, with a stride ReLU, convolution of kernel 1 and normalisation."""
        return nn.Identity() if stride == 1 else self.plain(self.channels, stride)

    def operations(self, stride: int) -> dict[str, Factory]:
        """Returns all operations of the set by name."""
        made: dict[str, Callable[[], nn.Module]] = {
            "none": ZeroOperation,
            "skip": lambda: self.skip(stride),
            "max3": lambda: self.pooling("max", stride),
            "mean3": lambda: self.pooling("mean", stride),
            "sep3": lambda: self.separable(3, stride),
            "sep5": lambda: self.separable(5, stride),
            "dil3": lambda: self.dilated(3, stride),
            "dil5": lambda: self.dilated(5, stride),
        }
        return dict(made)


OPERATIONS = tuple(ConvolutionSet(2, 1).operations(1))
"""Names of the operations."""


class MeanHead(nn.Module):
    """Mean over all positions, then a linear layer: ``[B, C, ...]`` to ``[B, K]``."""

    def __init__(self, channels: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs."""
        out: Tensor = self.linear(x.flatten(2).mean(dim=2))
        return out
