"""Fisher information of a network's own predictions: how much they depend on each weight; no labels are needed.

For classes, and for normal noise of variance 1, it is the Gauss-Newton matrix, which looks at no target.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netdial.core.layout import Params
from netdial.core.outputs import evaluating, failing_in_words
from netdial.curvature.diagonals import diagonal
from netdial.data.dataset import Dataset
from netdial.task import DenseClassification, Task


def own_fisher(net: nn.Module, inputs: Tensor, task: Task) -> Params:
    """Returns Σ_x E_y (∂ log p(y | x) / ∂w)² by parameter, y drawn from the network's own prediction.

    Args:
        net: a network whose outputs are ``[N, O]``, or have places.
        inputs: ``[N, ...]``.
        task: what is predicted.
    """
    with evaluating(net), failing_in_words(net, inputs):
        out = net(inputs[:1].clone())
    if task.targets == "classes":
        targets = torch.zeros(len(inputs), dtype=torch.long)
    elif isinstance(task, DenseClassification):
        shape = out.movedim(task.axis, -1).shape[1:-1]
        targets = torch.zeros(len(inputs), *shape, dtype=torch.long)
    else:
        targets = torch.zeros(len(inputs), *out.shape[1:], dtype=inputs.dtype)
    return diagonal(net, Dataset(inputs, targets), kind=task.in_training(), how="ggn")
