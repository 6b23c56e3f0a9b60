"""Small networks for tables, graphs, points, sets and other things, as people write them: for the figure ``zoo``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_G = torch.Generator().manual_seed(0)
V, W = torch.randn(4, 8, generator=_G), torch.randn(4, 8, generator=_G)
POINTS = torch.randn(2, 7, 3, generator=_G)
ADJ = (torch.rand(2, 7, 7, generator=_G) < 0.5).float()
CATS = torch.randint(0, 6, (4, 3), generator=_G)
IMAGES = torch.randn(2, 3, 8, 8, generator=_G)
TIMES = torch.tensor([3, 7])
SIGNAL = torch.randn(2, 1, 32, generator=_G)
SERIES = torch.randn(4, 12, generator=_G)
Maker = Callable[[], tuple[nn.Module, Any]]


class Net(nn.Module):
    """Parts by name, and a forward pass."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, *x: Tensor) -> Any:
        return self.run(self, *x)


class Sine(nn.Module):
    """A layer of SIREN."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.linear = nn.Linear(i, o)

    def forward(self, x: Tensor) -> Any:
        return torch.sin(30 * self.linear(x))


class Coupling(nn.Module):
    """Affine coupling (RealNVP): one half scales and shifts the other."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 8))

    def forward(self, x: Tensor) -> Any:
        a, b = x.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        s = torch.tanh(s)
        return torch.cat((a, b * torch.exp(s) + t), 1), s.sum(1)


class Experts(nn.Module):
    """A mixture of experts, with soft gates or the best two."""

    def __init__(self, top: int = 0) -> None:
        super().__init__()
        self.top, self.gate, self.inp = top, nn.Linear(12, 4), nn.Linear(8, 12)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 12)) for _ in range(4)
        )
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.inp(x))
        gates = self.gate(x)
        if self.top:
            best, at = gates.topk(self.top, dim=-1)
            gates = torch.full_like(gates, float("-inf")).scatter(-1, at, best)
        found = torch.stack([expert(x) for expert in self.experts], dim=1)
        return self.out((gates.softmax(-1).unsqueeze(-1) * found).sum(1))


class FiLM(nn.Module):
    """A condition scales and shifts channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.cond, self.out = mlp(8, 10, 16), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor, c: Tensor) -> Any:
        gamma, beta = self.cond(c).chunk(2, dim=1)
        x = self.norm(self.conv(x))
        return self.out(F.silu(x * (1 + gamma[:, :, None, None]) + beta[:, :, None, None]))


class Diffusion(nn.Module):
    """Noise prediction with an embedding of time."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.c, self.t1, self.t2 = c, nn.Linear(c, 16), nn.Linear(16, c)
        self.inp, self.n1, self.c1 = (
            nn.Conv2d(3, c, 3, padding=1),
            nn.GroupNorm(4, c),
            nn.Conv2d(c, c, 3, padding=1),
        )
        self.n2, self.c2, self.out = (
            nn.GroupNorm(4, c),
            nn.Conv2d(c, c, 3, padding=1),
            nn.Conv2d(c, 3, 3, padding=1),
        )

    def forward(self, x: Tensor, t: Tensor) -> Any:
        half = self.c // 2
        rate = torch.exp(-torch.arange(half, device=x.device) * 2.0 / half).to(x.dtype)
        emb = t[:, None].to(x.dtype) * rate[None]
        emb = self.t2(F.silu(self.t1(torch.cat([emb.sin(), emb.cos()], dim=-1))))
        x = self.inp(x)
        h = self.c1(F.silu(self.n1(x))) + emb[:, :, None, None]
        return self.out(x + self.c2(F.silu(self.n2(h))))


class NBeats(nn.Module):
    """Backcast and forecast; the last backcast is used by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 16)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Any:
        forecast: Any = 0
        for block in self.blocks:
            theta = block(x)
            x = x - theta[:, :12]
            forecast = forecast + theta[:, 12:]
        return forecast


class NBeatsApart(nn.Module):
    """The same with layers for each."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.ModuleList(nn.Linear(12, 10) for _ in range(2))
        self.back, self.fore = (nn.ModuleList(nn.Linear(10, n) for _ in range(2)) for n in (12, 4))

    def forward(self, x: Tensor) -> Any:
        out = x.new_zeros(x.size(0), 4)
        for fc, back, fore in zip(self.fc, self.back, self.fore, strict=True):
            h = torch.relu(fc(x))
            x = x - back(h)
            out = out + fore(h)
        return out


@dataclass
class Output:
    """What some networks give."""

    loss: Tensor | None
    logits: Tensor
    hidden: tuple[Tensor, ...]


def gat(s: Any, x: Tensor, adj: Tensor) -> Any:
    h = s.w(x)
    score = F.leaky_relu(s.src(h) + s.dst(h).transpose(1, 2), 0.2)
    att = torch.where(adj > 0, score, torch.full_like(score, -9e15)).softmax(2)
    return s.out(F.elu(att @ h).mean(1))


def deep_fm(s: Any, cats: Tensor) -> Any:
    e = s.emb(cats)
    square, squares = e.sum(1).pow(2), e.pow(2).sum(1)
    return 0.5 * (square - squares).sum(1, keepdim=True) + s.mlp(e.flatten(1))


def tabular(s: Any, x: Tensor, cats: Tensor) -> Any:
    tokens = torch.cat([s.weight[None] * x[:, :, None] + s.bias[None], s.emb(cats)], dim=1)
    tokens = torch.cat([s.cls.expand(x.shape[0], 1, -1), tokens], dim=1)
    return s.head(F.relu(s.norm(s.enc(tokens)[:, 0])))


def highway(s: Any, x: Tensor) -> Any:
    x = F.relu(s.i(x))
    t = torch.sigmoid(s.t(x))
    return s.out(t * F.relu(s.h(x)) + (1 - t) * x)


def maxout(s: Any, x: Tensor) -> Any:
    return s.out(s.a(x).view(x.size(0), 6, 2).max(2)[0])


def dueling(s: Any, x: Tensor) -> Any:
    h = F.relu(s.a(x))
    v, a = s.v2(F.relu(s.v1(h))), s.a2(F.relu(s.a1(h)))
    return v + a - a.mean(dim=1, keepdim=True)


def vector_quantised(s: Any, x: Tensor) -> Any:
    z = s.b(F.relu(s.a(x)))
    far = z.pow(2).sum(1, keepdim=True) - 2 * z @ s.book.t() + s.book.pow(2).sum(1)
    near = s.book[far.argmin(1)]
    quantised = z + (near - z).detach()
    return s.d(F.relu(s.c(quantised))), F.mse_loss(near, z.detach())


def stn(s: Any, x: Tensor) -> Any:
    theta = s.loc(x.flatten(1)).view(-1, 2, 3)
    x = F.grid_sample(
        x, F.affine_grid(theta, list(x.size()), align_corners=False), align_corners=False
    )
    return s.out(F.relu(s.conv(x)).mean((2, 3)))


def set_transformer(s: Any, x: Tensor) -> Any:
    k = s.k(F.relu(s.inp(x)))
    att = torch.einsum("sd,bnd->bsn", s.seeds, k).softmax(-1)
    return s.out((att @ F.relu(s.inp(x))).flatten(1))


def message_passing(s: Any, x: Tensor, adj: Tensor) -> Any:
    h = F.relu(s.inp(x))
    for _ in range(2):
        n = h.shape[1]
        pair = torch.cat(
            [h[:, :, None].expand(-1, -1, n, -1), h[:, None].expand(-1, n, -1, -1)], -1
        )
        h = s.cell(
            ((F.relu(s.msg(pair)) * adj[..., None]).sum(2)).flatten(0, 1), h.flatten(0, 1)
        ).view_as(h)
    return s.out(h.sum(1))


def mixture_density(s: Any, x: Tensor) -> Any:
    h = torch.tanh(s.a(x))
    return F.softmax(s.pi(h), -1), torch.exp(s.sigma(h)), s.mu(h)


def fnet(s: Any, x: Tensor) -> Any:
    x = s.inp(x)
    x = s.norm(x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real)
    return s.out((x + s.b(F.gelu(s.a(x)))).mean(1))


def state_space(s: Any, x: Tensor) -> Any:
    u, h, found = s.inp(x), x.new_zeros(x.shape[0], 6), []
    decay = torch.sigmoid(s.decay)
    for t in range(x.shape[1]):
        h = decay * h + u[:, t]
        found.append(h)
    return s.out(torch.stack(found, 1).mean(1))


def teacher(s: Any, x: Tensor) -> Any:
    with torch.no_grad():
        target = s.teacher(x)
    return s.student(x), target


def siamese(s: Any, x: Tensor, y: Tensor) -> Any:
    return F.cosine_similarity(s.net(x), s.net(y))


def two_towers(s: Any, x: Tensor, y: Tensor) -> Any:
    u, v = F.normalize(s.user(x), dim=1), F.normalize(s.item(y), dim=1)
    return u @ v.t() * s.scale.exp()


def hyper(s: Any, x: Tensor) -> Any:
    w = s.made(F.relu(s.key(x))).view(-1, 3, 8)
    return torch.bmm(w, x.unsqueeze(-1)).squeeze(-1)


def pointnet(s: Any, x: Tensor) -> Any:
    h = F.relu(s.n1(s.c1(x.transpose(1, 2))))
    top = torch.max(F.relu(s.c2(h)), 2, keepdim=True)[0].repeat(1, 1, x.size(1))
    return s.out(torch.cat([h, top], 1)).transpose(1, 2)


def edges(s: Any, x: Tensor) -> Any:
    near = torch.cdist(x, x).topk(3, largest=False).indices
    found = torch.gather(
        x[:, None].expand(-1, x.shape[1], -1, -1),
        2,
        near[..., None].expand(-1, -1, -1, x.shape[-1]),
    )
    pair = torch.cat([found - x[:, :, None], x[:, :, None].expand_as(found)], -1)
    return s.out(F.relu(s.a(pair)).amax(2).mean(1))


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with activations between."""
    layers: list[nn.Module] = []
    for i, o in pairwise(sizes):
        layers += [nn.Linear(i, o), act()]
    return nn.Sequential(*layers[:-1])


def lin(**sizes: tuple[int, int]) -> dict[str, nn.Module]:
    """Returns linear layers by name."""
    return {name: nn.Linear(*size) for name, size in sizes.items()}


NETWORKS: dict[str, Maker] = {
    "multilayer perceptron": lambda: (mlp(8, 12, 10, 3), V),
    "self-normalising": lambda: (nn.Sequential(nn.Linear(8, 12), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(12, 3)), V),
    "SIREN": lambda: (nn.Sequential(Sine(8, 12), Sine(12, 10), nn.Linear(10, 3)), V),
    "coupling flow": lambda: (Coupling(), V),
    "soft experts": lambda: (Experts(), V),
    "top-2 experts": lambda: (Experts(2), V),
    "FiLM": lambda: (FiLM(), (IMAGES, V[:2])),
    "diffusion with time": lambda: (Diffusion(), (IMAGES, TIMES)),
    "N-BEATS, sliced": lambda: (NBeats(), SERIES),
    "N-BEATS, apart": lambda: (NBeatsApart(), SERIES),
    "GCN": lambda: (Net(lambda s, x, a: s.b(a @ F.relu(a @ s.a(x))).mean(1), **lin(a=(3, 10), b=(10, 3))), (POINTS, ADJ)),
    "GAT": lambda: (Net(gat, **lin(w=(3, 10), src=(10, 1), dst=(10, 1), out=(10, 3))), (POINTS, ADJ)),
    "message passing": lambda: (
        Net(message_passing, cell=nn.GRUCell(6, 8), **lin(inp=(3, 8), msg=(16, 6), out=(8, 3))), (POINTS, ADJ)),
    "deep sets": lambda: (Net(lambda s, x: s.rho(s.phi(x).sum(1)), phi=mlp(3, 10, 8), rho=mlp(8, 6, 3)), POINTS),
    "set transformer's pooling": lambda: (
        Net(set_transformer, seeds=torch.randn(2, 6), **lin(inp=(3, 10), k=(10, 6), out=(20, 3))), POINTS),
    "PointNet": lambda: (
        Net(pointnet, c1=nn.Conv1d(3, 8, 1), n1=nn.BatchNorm1d(8), c2=nn.Conv1d(8, 10, 1), out=nn.Conv1d(18, 4, 1)), POINTS),
    "EdgeConv": lambda: (Net(edges, **lin(a=(6, 10), out=(10, 3))), POINTS),
    "DeepFM": lambda: (Net(deep_fm, emb=nn.Embedding(6, 5), mlp=mlp(15, 10, 1)), CATS),
    "wide and deep": lambda: (
        Net(lambda s, x, c: s.wide(x) + s.deep(torch.cat([x, s.emb(c).flatten(1)], 1)), wide=nn.Linear(8, 1),
            emb=nn.Embedding(6, 4), deep=mlp(20, 10, 1)), (V, CATS)),
    "FT-Transformer": lambda: (
        Net(tabular, weight=torch.randn(8, 12), bias=torch.randn(8, 12), emb=nn.Embedding(6, 12), cls=torch.randn(1, 1, 12),
            enc=nn.TransformerEncoderLayer(12, 3, 16, batch_first=True, norm_first=True), norm=nn.LayerNorm(12),
            head=nn.Linear(12, 2)), (V, CATS)),
    "tabular ResNet": lambda: (
        Net(lambda s, x: s.out((lambda h: h + s.b(F.relu(s.a(s.n(h)))))(s.i(x))), n=nn.BatchNorm1d(10),
            **lin(i=(8, 10), a=(10, 16), b=(16, 10), out=(10, 3))), V),
    "highway": lambda: (Net(highway, **lin(i=(8, 10), t=(10, 10), h=(10, 10), out=(10, 3))), V),
    "maxout": lambda: (Net(maxout, **lin(a=(8, 12), out=(6, 3))), V),
    "dueling values": lambda: (Net(dueling, **lin(a=(8, 12), v1=(12, 6), v2=(6, 1), a1=(12, 6), a2=(6, 4))), V),
    "actor and critic": lambda: (
        Net(lambda s, x: (lambda h: {"policy": s.p(h).log_softmax(-1), "value": s.v(h)})(torch.tanh(s.a(x))),
            **lin(a=(8, 12), p=(12, 4), v=(12, 1))), V),
    "vector quantisation": lambda: (
        Net(vector_quantised, book=torch.randn(7, 4), **lin(a=(8, 12), b=(12, 4), c=(4, 12), d=(12, 8))), V),
    "tied autoencoder": lambda: (
        Net(lambda s, x: F.linear(torch.tanh(F.linear(x, s.w, s.b)), s.w.t(), s.c), w=torch.randn(6, 8), b=torch.zeros(6),
            c=torch.zeros(8)), V),
    "autoencoder": lambda: (nn.Sequential(mlp(8, 12, 4), nn.ReLU(), mlp(4, 12, 8), nn.Sigmoid()), V),
    "mixture density": lambda: (Net(mixture_density, **lin(a=(8, 12), pi=(12, 3), sigma=(12, 3), mu=(12, 3))), V),
    "spatial transformer": lambda: (
        Net(stn, loc=mlp(192, 10, 6), conv=nn.Conv2d(3, 8, 3), out=nn.Linear(8, 3)), IMAGES),
    "FNet": lambda: (Net(fnet, norm=nn.LayerNorm(10), **lin(inp=(3, 10), a=(10, 16), b=(16, 10), out=(10, 3))), POINTS),
    "state space by a loop": lambda: (Net(state_space, decay=torch.randn(6), **lin(inp=(3, 6), out=(6, 3))), POINTS),
    "teacher without gradients": lambda: (Net(teacher, teacher=mlp(8, 16, 3), student=mlp(8, 10, 3)), V),
    "Siamese cosine": lambda: (Net(siamese, net=mlp(8, 12, 6)), (V, W)),
    "two towers": lambda: (Net(two_towers, user=mlp(8, 12, 6), item=mlp(8, 10, 6), scale=torch.tensor(1.0)), (V, W)),
    "hypernetwork": lambda: (Net(hyper, **lin(key=(8, 10), made=(10, 24))), V),
    "bilinear": lambda: (
        Net(lambda s, x, y: s.f(F.relu(s.a(x)), F.relu(s.b(y))), f=nn.Bilinear(6, 7, 3), **lin(a=(8, 6), b=(8, 7))), (V, W)),
    "checkpointing": lambda: (
        Net(lambda s, x: s.out(checkpoint(s.body, s.i(x), use_reentrant=False)), body=mlp(12, 10, 12),
            **lin(i=(8, 12), out=(12, 3))), V),
    "data class": lambda: (
        Net(lambda s, x: (lambda h: Output(None, s.o(h), (h,)))(s.b(F.relu(s.a(x)))),
            **lin(a=(8, 12), b=(12, 6), o=(6, 3))), V),
    "GAN generator": lambda: (
        nn.Sequential(nn.Linear(8, 32), nn.Unflatten(1, (8, 2, 2)), nn.BatchNorm2d(8), nn.ReLU(),
                      nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.BatchNorm2d(6), nn.ReLU(),
                      nn.ConvTranspose2d(6, 3, 4, 2, 1), nn.Tanh()), V),
    "GAN discriminator": lambda: (
        nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 6, 4, 2, 1)), nn.LeakyReLU(0.2),
                      nn.utils.parametrizations.spectral_norm(nn.Conv2d(6, 8, 4, 2, 1)), nn.LeakyReLU(0.2), nn.Flatten(),
                      nn.Linear(32, 1)), IMAGES),
    "style transfer": lambda: (
        nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6, affine=True), nn.ReLU(),
                      nn.Upsample(scale_factor=2), nn.Conv2d(6, 3, 3, padding=1)), IMAGES),
    "super-resolution": lambda: (
        nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2)), IMAGES),
    "local response norm": lambda: (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.LocalResponseNorm(3), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(),
                      nn.Linear(96, 3)), IMAGES),
    "keypoints by heat maps": lambda: (
        Net(lambda s, x: s.out(F.relu(s.c(x))).flatten(2).softmax(-1) @ s.grid, c=nn.Conv2d(3, 8, 3, padding=1),
            out=nn.Conv2d(8, 4, 1), grid=torch.randn(64, 2)), IMAGES),
    "raw audio": lambda: (
        nn.Sequential(nn.Conv1d(1, 8, 8, 4), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 10, 3), nn.ReLU(),
                      nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(10, 3)), SIGNAL),
    "frames of a signal": lambda: (
        Net(lambda s, x: s.out(F.relu(s.a(x.unfold(2, 8, 4).squeeze(1))).mean(1)), **lin(a=(8, 10), out=(10, 3))), SIGNAL),
    "video": lambda: (
        nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(6, 8, 3),
                      nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)),
        IMAGES[:, :, None].expand(-1, -1, 4, -1, -1)),
}  # fmt: skip
"""Name -> what makes a network and its inputs."""
