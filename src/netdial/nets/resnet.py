"""ResNet-20 for small images: three stages of three residual blocks with 16, 32 and 64 channels.

Source: K. He et al., Deep residual learning, 2016, section 4.2. Where the shape changes, the
shortcut is a 1 x 1 convolution with BatchNorm (the paper's option B) and not zero padding (option
A): 272,474 parameters on CIFAR-10 where option A has 269,722, and every channel has a weight that
produces it.

Shape legend: B batch, C channels, H height, W width, K outputs.
"""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm, added to a shortcut.

    From [B, C, H, W] to [B, width, H/stride, W/stride].
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the block's output [B, width, H/stride, W/stride]."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        result: Tensor = self.relu2(out)
        return result


class ResNet(nn.Module):
    """A residual network for small images: [B, C, H, W] to [B, K]."""

    def __init__(self, channels: int, n_outputs: int, *, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.stage1 = _stage(16, 16, blocks, stride=1)
        self.stage2 = _stage(16, 32, blocks, stride=2)
        self.stage3 = _stage(32, 64, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, n_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs [B, K]."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.stage3(self.stage2(self.stage1(out)))
        result: Tensor = self.fc(self.flatten(self.pool(out)))
        return result


def _stage(channels: int, width: int, blocks: int, *, stride: int) -> nn.Sequential:
    """Returns residual blocks of one width, the first of which may halve the image."""
    first = ResidualBlock(channels, width, stride)
    return nn.Sequential(first, *(ResidualBlock(width, width, 1) for _ in range(blocks - 1)))
