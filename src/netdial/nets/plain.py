"""Convolutional networks without shortcuts: LeNet-5, the CNN of the 2022 paper, VGG-16, and blocks of any widths.

All of them are ``nn.Sequential`` with named layers, so their parameters read ``conv1.weight``,
``fc2.bias``. Sources: Y. LeCun et al., Gradient-based learning applied to document recognition,
1998 (LeNet-5; ReLU and max pooling in the place of sigmoids and subsampling); parametric complexity
control, 2022 (the CNN); K. Simonyan, A. Zisserman, Very deep convolutional networks, 2015 (VGG-16;
on 32 x 32 images its classifier is one linear layer).

Shape legend: B batch, C channels, K outputs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

VGG16 = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)  # pooling after each group


def lenet5(channels: int, side: int, n_outputs: int) -> nn.Sequential:
    """Returns LeNet-5 from [B, C, side, side] to [B, K]; 61,706 parameters on MNIST.

    The side is 28 (padded by 2) or 32.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5, padding=(32 - side) // 2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * 5 * 5, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, n_outputs),
        )
    )


def conv_blocks(channels: int, widths: Sequence[int], n_outputs: int) -> nn.Sequential:
    """Returns blocks of convolution 3 x 3, BatchNorm and ReLU, [B, C, H, W] to [B, K]; sides are 2^(blocks - 1) or more.

    A maximum over 2 x 2 pixels stands between blocks, a mean over all pixels before the last layer, which is linear.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate(widths, 1):
        layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU()
        if number < len(widths):
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = width
    layers |= {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["fc"] = nn.Linear(channels, n_outputs)
    return nn.Sequential(layers)


def paper_cnn(channels: int, n_outputs: int) -> nn.Sequential:
    """Returns the CNN of the 2022 paper, [B, C, 32, 32] to [B, K]; 9,074,218 parameters for 10.

    Convolutions 3 x 3 with 48, 96, pooling, 192, 256 channels, pooling, then 16384-512-64-K; ReLU,
    no BatchNorm.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 48, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(48, 96, 3, padding=1),
            relu2=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv3=nn.Conv2d(96, 192, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(192, 256, 3, padding=1),
            relu4=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(256 * 8 * 8, 512),
            relu5=nn.ReLU(),
            fc2=nn.Linear(512, 64),
            relu6=nn.ReLU(),
            fc3=nn.Linear(64, n_outputs),
        )
    )


def vgg16_bn(channels: int, n_outputs: int) -> nn.Sequential:
    """Returns VGG-16 with BatchNorm, [B, C, 32, 32] to [B, K]; 14,724,042 parameters for 10.

    Convolutions have no bias, for BatchNorm would undo it, and start from the normal law of He et
    al. (2015).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    depth = 0
    for group, widths in enumerate(VGG16, start=1):
        for width in widths:
            depth += 1
            conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers[f"conv{depth}"] = conv
            layers[f"bn{depth}"] = nn.BatchNorm2d(width)
            layers[f"relu{depth}"] = nn.ReLU()
            channels = width
        layers[f"pool{group}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, n_outputs)
    return nn.Sequential(layers)
