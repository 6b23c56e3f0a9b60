"""Model: a network at its parameters, the data it is judged on and the likelihood of its outputs.

Everything works on a frozen copy in evaluation mode, so the network, its buffers and its mode stay as they are.

The generalised Gauss-Newton matrix of the loss is Σ_i J_iᵀ Λ_i J_i, J the Jacobian of the outputs and Λ the second derivative
of the loss in the outputs (Schraudolph 2002; Martens 2020). Λ is written as Σ_k s_k s_kᵀ, so that all that is ever needed
are K gradients J_iᵀ s_k for each example:

    classification   Λ = diag(p) - p pᵀ,   s_k = √p_k (e_k - p),   K = O classes
    regression       Λ = 1 (unit variance), s_k = e_k,             K = O outputs

which the task says (``Task.root``). Outputs with places have too many columns: only the diagonal is told, by random sums
of them (``Task.information``).

Shapes: B examples, O outputs, K columns of the root of Λ, P parameters.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from netdial.core.errors import ConfigError, DataError, ShapeError, TraceError
from netdial.core.layout import Layout, Params
from netdial.core.noise import generator
from netdial.core.outputs import failing_in_words, without_casting, without_fast_path
from netdial.data.dataset import Dataset, match
from netdial.data.memory import Data
from netdial.nets.foreign import copy_network
from netdial.task import Task
from netdial.task.rehearsal import in_order_of, with_task


@dataclass(frozen=True, eq=False)
class Model:
    """A frozen copy of a network in evaluation mode, with data and likelihood; made by ``prepare``.

    Attributes:
        net: the copy.
        params: its parameters by name, detached.
        data: the examples.
        task: whose likelihood is the loss.
        batch_size: examples run at once.
        source: of random signs.
    """

    net: nn.Module
    params: Params
    data: Dataset
    task: Task
    batch_size: int
    source: torch.Generator = field(default_factory=lambda: generator("curvature-signs"))

    @property
    def layout(self) -> Layout:
        """The parameters in the order of the network."""
        return Layout.of(self.params)

    def zeros(self, *shape: int) -> Tensor:
        """Returns zeros on the device and in the type of the parameters."""
        return next(iter(self.params.values())).new_zeros(shape)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields inputs ``[B, ...]`` and targets on the device and, unless integers, in the type of the parameters."""
        like = next(iter(self.params.values()))
        for index in torch.arange(len(self.data), device=self.data.x.device).split(self.batch_size):
            y = self.data.y.index_select(0, index)
            yield self.data.inputs(index, like), match(y, like)

    def outputs(self, params: Params, x: Tensor) -> Tensor:
        """Returns the outputs ``[B, ...]`` under parameters, all or some of them."""
        return one_tensor_of(functional_call(self.net, {**self.params, **params}, (x.clone(),)))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Returns the negative log-likelihood of each example ``[B]`` in nats."""
        return self.task.nll(outputs, y)

    def root(self, outputs: Tensor) -> Tensor:
        """Returns s with Λ = Σ_k s_k s_kᵀ, ``[B, K, O]``."""
        return self.task.root(outputs)

    def information(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Returns s ``[B, K, ...]``, as ``root`` does; of outputs with places, right on average (``Task.information``)."""
        return self.task.information(outputs, y, self.source)

    def slope(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Returns the gradient of each example's loss in its outputs ``[B, 1, ...]``."""
        with torch.enable_grad():
            outputs = outputs.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.losses(outputs, y).sum(), outputs)
        return found[:, None]


def prepare(net: nn.Module, data: Data, kind: str | Task | None, batch_size: int) -> Model:
    """Returns the model of a network on some data.

    Raises:
        ConfigError: the task is unknown, there are no parameters, or ``batch_size`` is below 1.
        DataError: there are no examples.
        TraceError: the network gives something else than one tensor.
        ShapeError: its outputs are not those that the targets ask for.
    """
    if batch_size < 1:
        raise ConfigError(f"curvature: batch_size={batch_size}; expected at least 1")
    part, task = with_task(data, kind)
    if not len(part):
        raise DataError("curvature: the data have no examples; give at least one")
    part = in_order_of(net, part)
    net = copy_network(net).eval()
    params = {name: leaf.requires_grad_().detach() for name, leaf in net.named_parameters()}
    if not params:
        raise ConfigError(f"curvature: {type(net).__name__} has no parameters")
    model = Model(net, params, part, task, min(2, len(part)))
    few, y = next(model.batches())
    with torch.no_grad(), failing_in_words(net, few):
        out = one_tensor_of(net(few.clone()))
    if due := task.misfit(out, y, task.count(part.y)):
        raise ShapeError(
            f"curvature: the outputs of the network are {list(out.shape)}, expected {due} for a {task.name}"
        )
    return replace(model, task=task.seen(out, y), batch_size=batch_size)


def one_tensor_of(outputs: object) -> Tensor:
    """Returns a network's outputs ``[B, ...]``.

    Raises:
        TraceError: they are not one tensor.
    """
    if not isinstance(outputs, Tensor):
        raise TraceError(
            f"curvature: the network returned a {type(outputs).__name__}, expected one tensor of outputs; wrap it in a "
            "module that returns the tensor to be scored"
        )
    return outputs


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Runs attention as the products it consists of: its fused kernels have no second derivative and cannot be batched.

    Whoever calls may have gradients off, or ``autocast`` on.
    What torch runs example by example, since it has no batched form, is no matter of whoever calls, and is not told of.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        without_casting(),
        without_fast_path(),
        sdpa_kernel(SDPBackend.MATH),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield
