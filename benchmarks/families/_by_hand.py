"""One step of a family of 784-50-10 written out by hand: what torch operations take with nothing of a library around them.

Linear and piecewise-linear maps, scaled KL, local reparametrisation, K groups in a batch. No modules, no graph, every buffer
made once, complexity values drawn beforehand, no check but one for finite numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from netdial.core.layout import Layout
from netdial.objective import balanced

_LAYOUT = Layout(("w1", "b1", "w2", "b2"), ((50, 784), (50,), (10, 50), (10,)))
_LO, _HI = 1e-3, 1e2
_TO_LOG2 = 2 / math.log(2)


def by_hand(
    regions: int, x: Tensor, y: Tensor, batch: int, steps: int, groups: int
) -> Callable[[], None]:
    """Returns the work of ``steps`` steps of a family with ``regions`` regions; a linear map has one."""
    size, b = _LAYOUT.size, batch // groups
    means = (0.05 * torch.randn(size)).repeat(regions + 1, 1).requires_grad_()
    log_stds = torch.full((regions + 1, size), -3.0, requires_grad=True)
    means.grad, log_stds.grad = torch.zeros_like(means), torch.zeros_like(log_stds)
    rates = [{"params": [means], "lr": 1e-3}, {"params": [log_stds], "lr": 3e-3}]
    optimizer = torch.optim.Adam(rates, fused=True)
    order = torch.randperm(len(y))
    mean, var, of_mean, of_var = (torch.empty(groups, size) for _ in range(4))
    w1, b1, w2, b2 = _LAYOUT.split(mean).values()
    v1, c1, v2, c2 = _LAYOUT.split(var).values()
    dw1, db1, dw2, db2 = _LAYOUT.split(of_mean).values()
    dv1, dc1, dv2, dc2 = _LAYOUT.split(of_var).values()
    inputs, squares = (torch.empty(groups, b, 784) for _ in range(2))
    hidden, std1, positive, hidden2, grad1, side1 = (torch.empty(groups, 50, b) for _ in range(6))
    logits, std2 = (torch.empty(groups, 10, b) for _ in range(2))
    noise = torch.empty(groups * 60 * b)
    eps1, eps2 = (
        part.view(groups, -1, b) for part in noise.split([groups * 50 * b, groups * 10 * b])
    )

    @torch.no_grad()
    def work() -> None:
        assert means.grad is not None and log_stds.grad is not None
        unit = (torch.arange(groups) + torch.rand(steps, groups)) / groups
        all_shares = (1 - (torch.arange(regions + 1) - unit[:, :, None] * regions).abs()).clamp_min(
            0
        )
        all_lams = _LO * (unit * math.log(_HI / _LO)).exp()
        all_weights = balanced(all_lams) / groups
        for step in range(steps):
            start = min(step * batch, len(y) - batch)  # the last batch is filled up
            index = order[start : start + batch]
            torch.index_select(x, 0, index, out=inputs.view(batch, 784))
            labels = y.index_select(0, index).view(groups, 1, b)
            shares, lam, weight = all_shares[step], all_lams[step], all_weights[step]
            torch.mm(shares, means, out=mean)
            torch.mm(_TO_LOG2 * shares, log_stds, out=var).exp2_()
            spread = torch.linalg.vector_norm(mean, dim=1).square_() + var.sum(1)
            kl = 0.5 * (spread - size) - shares @ log_stds.sum(1)
            torch.mul(inputs, inputs, out=squares)
            noise.normal_()

            torch.bmm(w1, inputs.mT, out=hidden).add_(b1[:, :, None])
            torch.bmm(v1, squares.mT, out=std1).add_(c1[:, :, None]).sqrt_()
            hidden.addcmul_(std1, eps1)
            eps1.div_(std1)
            torch.gt(hidden, 0, out=positive)
            hidden.clamp_min_(0)
            torch.mul(hidden, hidden, out=hidden2)
            torch.bmm(w2, hidden, out=logits).add_(b2[:, :, None])
            torch.bmm(v2, hidden2, out=std2).add_(c2[:, :, None]).sqrt_()
            logits.addcmul_(std2, eps2)
            eps2.div_(std2)
            log_probs = torch.log_softmax(logits, 1)
            nll = -log_probs.gather(1, labels).mean((1, 2))
            if not torch.isfinite((nll + kl).sum()):
                raise ArithmeticError("the step by hand met a number that is not finite")

            # Twice the gradients of the variances: the noise is eps times their root.
            each = (weight / b)[:, None, None]
            grad2 = log_probs.exp_().mul_(each).scatter_add_(1, labels, (-each).expand(-1, 1, b))
            side2 = grad2 * eps2
            torch.bmm(grad2, hidden.mT, out=dw2)
            torch.bmm(side2, hidden2.mT, out=dv2)
            torch.sum(grad2, 2, out=db2)
            torch.sum(side2, 2, out=dc2)
            torch.bmm(v2.mT, side2, out=side1)
            torch.bmm(w2.mT, grad2, out=grad1).addcmul_(side1, hidden).mul_(positive)
            torch.mul(grad1, eps1, out=side1)
            torch.bmm(grad1, inputs, out=dw1)
            torch.bmm(side1, squares, out=dv1)
            torch.sum(grad1, 2, out=db1)
            torch.sum(side1, 2, out=dc1)

            pull = weight * lam / len(y)
            of_var.add_(pull[:, None]).mul_(var)
            back = shares.mT.contiguous()
            torch.mm((back * pull) @ shares, means, out=means.grad).addmm_(back, of_mean)
            torch.mm(back, of_var, out=log_stds.grad).sub_((back @ pull)[:, None])
            optimizer.step()

    return work
