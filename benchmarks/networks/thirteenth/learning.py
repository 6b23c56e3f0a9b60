"""Networks of the zoo that learn in other ways, thirteenth sample: teachers, fake numbers, mixes, margins, domains."""

# ruff: noqa: N803 - names and lines as people write them
from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Beta

from benchmarks.networks.thirteenth.inputs import INPUTS, LABELLED, SMALL_IMAGES


def convnet(width: int, classes: int = 5) -> nn.Sequential:
    """Returns a plain network whose parts have names."""
    net = nn.Sequential()
    for i, (a, b) in enumerate(((3, width), (width, 2 * width))):
        net.add_module(f"conv{i}", nn.Conv2d(a, b, 3, 2, 1, bias=False))
        net.add_module(f"bn{i}", nn.BatchNorm2d(b))
        net.add_module(f"relu{i}", nn.ReLU())
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    net.add_module("fc", nn.Linear(2 * width, classes))
    return net


class Distiller(nn.Module):
    """A student that is taught by a frozen teacher, which no call of train() wakes; their losses come with the logits."""

    def __init__(self, student: nn.Module, teacher: nn.Module, T: float = 4.0) -> None:
        super().__init__()
        self.student, self.teacher, self.T = student, teacher, T
        self.hint = nn.Conv2d(16, 24, 1)
        for p in self.teacher.parameters():
            p.requires_grad = False
        self.teacher.eval()

    def train(self, mode: bool = True) -> Distiller:
        super().train(mode)
        self.teacher.eval()
        return self

    @staticmethod
    def features(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        feat = None
        for name, part in net.named_children():
            x = part(x)
            if name == "relu1":
                feat = x
        return x, feat

    def forward(self, x: Tensor) -> Any:
        logits, feat = self.features(self.student, x)
        if not self.training:
            return logits
        with torch.no_grad():
            t_logits, t_feat = self.features(self.teacher, x)
        soft = F.kl_div(
            F.log_softmax(logits / self.T, dim=1),
            F.softmax(t_logits / self.T, dim=1),
            reduction="batchmean",
        )
        return logits, {"kd": soft * self.T**2, "hint": F.mse_loss(self.hint(feat), t_feat)}


class LsqNet(nn.Module):
    """Layers of few bits with learnt steps, whose gradient is scaled, and activations whose range moves in training."""

    class LsqLinear(nn.Linear):
        def __init__(self, i: int, o: int, nbits: int = 4) -> None:
            super().__init__(i, o)
            self.Qn, self.Qp = -(2 ** (nbits - 1)), 2 ** (nbits - 1) - 1
            self.alpha = nn.Parameter(2 * self.weight.detach().abs().mean() / math.sqrt(self.Qp))

        @staticmethod
        def grad_scale(x: Tensor, scale: float) -> Tensor:
            y, y_grad = x, x * scale
            return y.detach() - y_grad.detach() + y_grad

        @staticmethod
        def round_pass(x: Tensor) -> Tensor:
            return x.round().detach() - x.detach() + x

        def forward(self, x: Tensor) -> Tensor:
            g = 1.0 / math.sqrt(self.weight.numel() * self.Qp)
            alpha = self.grad_scale(self.alpha, g)
            w_q = self.round_pass((self.weight / alpha).clamp(self.Qn, self.Qp)) * alpha
            return F.linear(x, w_q, self.bias)

    class MovingFake(nn.Module):
        def __init__(self, momentum: float = 0.1) -> None:
            super().__init__()
            self.momentum = momentum
            self.register_buffer("min_val", torch.tensor(-1.0))
            self.register_buffer("max_val", torch.tensor(1.0))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                lo, hi = torch.aminmax(x.detach())
                self.min_val.copy_(self.min_val + self.momentum * (lo - self.min_val))
                self.max_val.copy_(self.max_val + self.momentum * (hi - self.max_val))
            scale = ((self.max_val - self.min_val) / 255).clamp(min=1e-8)
            zero = (-self.min_val / scale).round().clamp(0, 255)
            q = torch.clamp(torch.round(x / scale) + zero, 0, 255)
            fake = (q - zero) * scale
            return x + (fake - x).detach()

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.q1 = self.LsqLinear(6, 20), self.MovingFake()
        self.fc2, self.q2 = self.LsqLinear(20, 12), self.MovingFake()
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.q1(F.relu(self.fc1(x)))
        return self.out(self.q2(F.relu(self.fc2(x))))


class SoundEvents(nn.Module):
    """A notebook's detector of events in sound: examples mixed inside, generalised means, attention of frames."""

    class GeM(nn.Module):
        def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
            super().__init__()
            self.p, self.eps = nn.Parameter(torch.ones(1) * p), eps

        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(x.clamp(min=self.eps).pow(self.p), (x.size(-2), 1)).pow(
                1.0 / self.p
            )

        def __repr__(self) -> str:
            return f"GeM(p={self.p.data.tolist()[0]:.4f})"

    def __init__(self, n_mels: int = 10, classes: int = 4) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(n_mels)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.SiLU(inplace=True),
            nn.AvgPool2d((2, 2)),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.SiLU(inplace=True),
        )
        self.gem, self.fc1 = self.GeM(), nn.Linear(12, 14, bias=True)
        self.att, self.cla = nn.Conv1d(14, classes, 1), nn.Conv1d(14, classes, 1)
        self.beta, self.interpolate_ratio = 1.0, 2

    def mix(self, x: Tensor) -> Tensor:
        perm = torch.randperm(x.size(0))
        lam = Beta(torch.tensor(self.beta), torch.tensor(self.beta)).sample((x.size(0),))
        lam = lam.to(x.dtype)[:, None, None]
        return lam * x + (1 - lam) * x[perm]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        frames_num = x.shape[2]
        if self.training:
            x = self.mix(x)
        x = self.bn0(x.unsqueeze(1).transpose(1, 2)).transpose(1, 2)
        x = self.gem(self.encoder(x)).squeeze(2)
        x1 = F.max_pool1d(x, kernel_size=3, stride=1, padding=1)
        x2 = F.avg_pool1d(x, kernel_size=3, stride=1, padding=1)
        x = F.dropout(x1 + x2, p=0.5, training=self.training)
        x = F.relu_(self.fc1(x.transpose(1, 2))).transpose(1, 2)
        norm_att = torch.softmax(torch.clamp(self.att(x), -10, 10), dim=-1)
        segmentwise = torch.sigmoid(self.cla(x))
        clipwise = torch.sum(norm_att * segmentwise, dim=2)
        bs, seq, classes = segmentwise.transpose(1, 2).shape
        framewise = segmentwise.transpose(1, 2)[:, :, None, :].repeat(
            1, 1, self.interpolate_ratio, 1
        )
        framewise = framewise.reshape(bs, seq * self.interpolate_ratio, classes)
        pad = framewise[:, -1:, :].repeat(1, frames_num - framewise.shape[1], 1)
        return {"clipwise": clipwise, "framewise": torch.cat((framewise, pad), dim=1)}


class CurricularFaces(nn.Module):
    """A margin that grows with training: a running mean of the right cosines is a buffer that a forward pass puts anew."""

    def __init__(self, classes: int = 5, m: float = 0.5, s: float = 16.0) -> None:
        super().__init__()
        self.backbone, self.m, self.s = convnet(8, 14), m, s
        self.cos_m, self.sin_m = math.cos(m), math.sin(m)
        self.threshold, self.mm = math.cos(math.pi - m), math.sin(math.pi - m) * m
        self.kernel = nn.Parameter(torch.randn(14, classes) * 0.1)
        self.register_buffer("t", torch.zeros(1))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        embeddings = self.backbone(x)
        embeddings = torch.div(embeddings, torch.norm(embeddings, 2, 1, True))
        kernel_norm = torch.div(self.kernel, torch.norm(self.kernel, 2, 0, True))
        cos_theta = torch.mm(embeddings, kernel_norm).clamp(-1, 1)
        if not self.training:
            return cos_theta * self.s
        target_logit = cos_theta[torch.arange(0, x.size(0)), label].view(-1, 1)
        sin_theta = torch.sqrt(1.0 - torch.pow(target_logit, 2))
        cos_theta_m = target_logit * self.cos_m - sin_theta * self.sin_m
        mask = cos_theta > cos_theta_m
        final = torch.where(target_logit > self.threshold, cos_theta_m, target_logit - self.mm)
        with torch.no_grad():
            self.t = target_logit.mean() * 0.01 + (1 - 0.01) * self.t
        cos_theta = torch.where(mask, cos_theta * (self.t + cos_theta), cos_theta)
        one_hot = torch.zeros_like(cos_theta).scatter_(1, label.view(-1, 1), 1.0)
        return (one_hot * final + (1 - one_hot) * cos_theta) * self.s


class ReverseGrad(torch.autograd.Function):
    """The identity forwards; backwards the gradient, turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lambd: float) -> Tensor:
        ctx.lambd = lambd
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return grad_output.neg() * ctx.lambd, None


class LightningLike(nn.Module):
    """A base class with settings that are read off the frame of the caller, as trainers have it."""

    def save_hyperparameters(self) -> None:
        frame = inspect.currentframe().f_back
        names = inspect.signature(type(self).__init__).parameters
        self.hparams = SimpleNamespace(
            **{k: v for k, v in frame.f_locals.items() if k in names and k != "self"}
        )

    def log(self, name: str, value: Any) -> None:
        self.__dict__.setdefault("_logged", {})[name] = value

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


class DomainAdversary(LightningLike):
    """Classes and domains from one backbone; gradients of the domain come back turned round, more so each step."""

    def __init__(self, hidden: int = 16, lr: float = 1e-3, gamma: float = 10.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(
            nn.Linear(6, self.hparams.hidden), nn.ReLU(), nn.Linear(hidden, 12)
        )
        self.classifier = nn.Sequential(nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 3))
        self.discriminator = nn.Sequential(nn.Linear(12, 9), nn.LeakyReLU(0.2), nn.Linear(9, 1))
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x)
        if self.training:
            self.progress += 0.01
        lambd = 2.0 / (1.0 + torch.exp(-self.hparams.gamma * self.progress)) - 1
        return self.classifier(z), self.discriminator(ReverseGrad.apply(z, lambd))


class MergeNet(nn.Module):
    """Blocks in a sequence that notes its input on the tensors themselves, for a layer that adds it on."""

    class MergeLayer(nn.Module):
        def __init__(self, dense: bool = False) -> None:
            super().__init__()
            self.dense = dense

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, x.orig], dim=1) if self.dense else (x + x.orig)

    class SequentialEx(nn.Module):
        def __init__(self, *layers: nn.Module) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x: Tensor) -> Tensor:
            res = x
            for layer in self.layers:
                res.orig = x
                nres = layer(res)
                res.orig = None
                res = nres
            return res

        def __getitem__(self, i: int) -> nn.Module:
            return self.layers[i]

    def __init__(self) -> None:
        super().__init__()

        def conv(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())

        self.body = nn.Sequential(
            conv(3, 8),
            self.SequentialEx(conv(8, 12), conv(12, 8), self.MergeLayer()),
            self.SequentialEx(conv(8, 10), self.MergeLayer(dense=True)),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(18, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "distiller": lambda: (Distiller(convnet(8), convnet(12)), SMALL_IMAGES),
    "lsq_net": lambda: (LsqNet(), INPUTS.numbers),
    "sound_events": lambda: (SoundEvents(), INPUTS.mels),
    "curricular_faces": lambda: (CurricularFaces(), LABELLED),
    "domain_adversary": lambda: (DomainAdversary(), INPUTS.numbers),
    "merge_net": lambda: (MergeNet(), SMALL_IMAGES),
}
