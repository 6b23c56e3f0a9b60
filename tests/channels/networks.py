"""Random networks for the tests of shrinking: a seed gives a stem, some blocks and a head, over the whole list of operations.

Three kinds of streams: pictures ``[B, C, *D]`` with 1, 2 or 3 positions, vectors ``[B, C]``, sequences ``[B, T, E]``.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from netdial.channels.collect import collect
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.surgery import apply
from netdial.core.cutting import leaves
from netdial.core.errors import ConfigError
from netdial.core.plan import Plan

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
POOLS: dict[int, list[Callable[[], nn.Module]]] = {
    1: [
        lambda: nn.MaxPool1d(3, 2, 1),
        lambda: nn.AvgPool1d(3, 1, 1),
        lambda: nn.AdaptiveAvgPool1d(3),
    ],
    2: [
        lambda: nn.MaxPool2d(3, 1, 1),
        lambda: nn.AvgPool2d(3, 2, 1),
        lambda: nn.AdaptiveMaxPool2d(4),
    ],
    3: [lambda: nn.MaxPool3d(2), lambda: nn.AvgPool3d(3, 1, 1), lambda: nn.AdaptiveAvgPool3d(2)],
}
ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    nn.Sigmoid,
    nn.Softplus,
    nn.GELU,
    nn.SiLU,
    nn.ELU,
    nn.Tanh,
    nn.LeakyReLU,
    nn.Hardswish,
    nn.PReLU,
    nn.Identity,
]


class Call(nn.Module):
    """A function of a stream as a module, with parameters of its own."""

    def __init__(self, function: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def random_weights(*shape: int) -> Tensor:
    return torch.randn(*shape) / max(shape[-1], 1) ** 0.5


class Pictures:
    """Blocks on streams ``[B, C, *D]``; each takes and returns the count of channels."""

    def __init__(self, choose: random.Random, n: int) -> None:
        self.choose, self.n = choose, n

    def block(self, c: int) -> tuple[nn.Module, int]:
        names = [
            "conv",
            "grouped",
            "depthwise",
            "transposed",
            "residual",
            "branches",
            "gate",
            "excite",
        ]
        names += [
            "pool",
            "dropout",
            "scaled",
            "stacked",
            "functional",
            "shuffled",
            "tokens",
            "inner",
        ]
        names += ["norm"]
        return getattr(self, self.choose.choice(names))(c)

    def conv(self, c: int) -> tuple[nn.Module, int]:
        made = self.choose.choice([4, 6, 8])
        dilation, bias = self.choose.choice([1, 2]), self.choose.random() < 0.7
        conv = CONV[self.n](
            c, made, 3, self.choose.choice([1, 1, 2]), dilation, dilation, bias=bias
        )
        return nn.Sequential(conv, *self.tail(made)), made

    def tail(self, c: int) -> list[nn.Module]:
        norms: list[Callable[[], nn.Module]] = [
            lambda: BATCH[self.n](c),
            lambda: BATCH[self.n](c, affine=False),
            lambda: INSTANCE[self.n](c, affine=True),
            lambda: INSTANCE[self.n](c),
            nn.Identity,
        ]
        act: nn.Module = self.choose.choice([*ACTIVATIONS, lambda: nn.PReLU(c)])()
        return [self.choose.choice([*norms, norms[0]])(), act]

    def norm(self, c: int) -> tuple[nn.Module, int]:
        return self.choose.choice([lambda: nn.GroupNorm(2, c), lambda: nn.GroupNorm(c, c)])(), c

    def grouped(self, c: int) -> tuple[nn.Module, int]:
        made = self.choose.choice([4, 8])
        return nn.Sequential(CONV[self.n](c, made, 3, padding=1, groups=2), *self.tail(made)), made

    def depthwise(self, c: int) -> tuple[nn.Module, int]:
        made = c * self.choose.choice([1, 2]) if c < 8 else c
        return nn.Sequential(CONV[self.n](c, made, 3, padding=1, groups=c), *self.tail(made)), made

    def transposed(self, c: int) -> tuple[nn.Module, int]:
        groups, made = self.choose.choice([(1, 6), (2, 4), (c, 2 * c if c < 8 else c)])
        return TRANSPOSED[self.n](c, made, 3, padding=1, groups=groups), made

    def residual(self, c: int) -> tuple[nn.Module, int]:
        body, made = self.conv(c)
        fit = CONV[self.n](made, c, 1)

        def forward(self: Any, x: Tensor) -> Tensor:
            return x + F.interpolate(self.fit(self.body(x)), size=x.shape[2:])

        return Call(forward, body=body, fit=fit), c

    def branches(self, c: int) -> tuple[nn.Module, int]:
        one, other = CONV[self.n](c, 4, 1), CONV[self.n](c, 3, 3, padding=1)
        return Call(
            lambda s, x: torch.cat([s.one(x), s.other(x).relu(), x], 1), one=one, other=other
        ), 7 + c

    def gate(self, c: int) -> tuple[nn.Module, int]:
        def forward(self: Any, x: Tensor) -> Tensor:
            one, other = self.layer(x).chunk(2, dim=1)
            return one * torch.sigmoid(other)

        return Call(forward, layer=CONV[self.n](c, 8, 1)), 4

    def excite(self, c: int) -> tuple[nn.Module, int]:
        n = self.n

        def forward(self: Any, x: Tensor) -> Tensor:
            seen = x.mean(list(range(2, 2 + n)))
            gate = self.up(F.relu(self.down(seen))).sigmoid()
            return x * gate.reshape(x.shape[0], -1, *[1] * n)

        return Call(forward, down=nn.Linear(c, 3), up=nn.Linear(3, c)), c

    def pool(self, c: int) -> tuple[nn.Module, int]:
        return self.choose.choice(POOLS[self.n])(), c

    def dropout(self, c: int) -> tuple[nn.Module, int]:
        function = Call(lambda s, x: F.dropout(x, 0.0, s.training))
        return self.choose.choice([nn.Dropout(0.0), function]), c

    def scaled(self, c: int) -> tuple[nn.Module, int]:
        scale = torch.randn(c, *[1] * self.n)
        return Call(
            lambda s, x: x * s.scale + s.shift, scale=scale, shift=torch.randn_like(scale)
        ), c

    def stacked(self, c: int) -> tuple[nn.Module, int]:
        one, other = CONV[self.n](c, 5, 1), CONV[self.n](c, 5, 1, bias=False)
        return Call(
            lambda s, x: torch.stack([s.one(x), s.other(x)], 2).amax(2), one=one, other=other
        ), 5

    def functional(self, c: int) -> tuple[nn.Module, int]:
        call = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[self.n]
        w, b = torch.randn(6, c, *[3] * self.n) / c, torch.randn(6)
        return Call(lambda s, x: call(x, s.w, s.b, padding=1), w=w, b=b), 6

    def shuffled(self, c: int) -> tuple[nn.Module, int]:
        def forward(self: Any, x: Tensor) -> Tensor:
            apart = self.layer(x).unflatten(1, (2, -1))
            return apart.transpose(1, 2).flatten(1, 2)

        return Call(forward, layer=CONV[self.n](c, 8, 1)), 8

    def tokens(self, c: int) -> tuple[nn.Module, int]:
        def forward(self: Any, x: Tensor) -> Tensor:
            y = self.layer(x.flatten(2).transpose(1, 2)).relu()
            return y.permute(0, 2, 1).reshape(x.shape[:1] + (-1,) + x.shape[2:])  # noqa: RUF005 (how it is traced)

        return Call(forward, layer=nn.Linear(c, 5)), 5

    def inner(self, c: int) -> tuple[nn.Module, int]:
        return nn.Sequential(CONV[self.n](c, 7, 1), *self.tail(7), CONV[self.n](7, 4, 3)), 4


class Vectors:
    """Blocks on streams ``[B, C]``."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose

    def block(self, c: int) -> tuple[nn.Module, int]:
        names = [
            "linear",
            "functional",
            "product",
            "tied",
            "einsum",
            "concat",
            "residual",
            "gate",
            "bare",
        ]
        return getattr(self, self.choose.choice(names))(c)

    def linear(self, c: int) -> tuple[nn.Module, int]:
        made = self.choose.choice([4, 7])
        norm = self.choose.choice([nn.BatchNorm1d(made), nn.Identity()])
        act = self.choose.choice([*ACTIVATIONS, lambda: nn.PReLU(made)])()
        bias = self.choose.random() < 0.7
        return nn.Sequential(nn.Linear(c, made, bias=bias), norm, act), made

    def functional(self, c: int) -> tuple[nn.Module, int]:
        return Call(
            lambda s, x: F.linear(x, s.w, bias=s.b), w=random_weights(5, c), b=torch.randn(5)
        ), 5

    def product(self, c: int) -> tuple[nn.Module, int]:
        return Call(lambda s, x: x @ s.w + s.b, w=random_weights(c, 6), b=torch.randn(6)), 6

    def tied(self, c: int) -> tuple[nn.Module, int]:
        return Call(lambda s, x: s.layer(s.layer(x).tanh()), layer=nn.Linear(c, c)), c

    def einsum(self, c: int) -> tuple[nn.Module, int]:
        return Call(lambda s, x: torch.einsum("bi,oi->bo", x, s.w), w=random_weights(4, c)), 4

    def concat(self, c: int) -> tuple[nn.Module, int]:
        one, other = nn.Linear(c, 3), nn.Linear(c, 4)
        return Call(lambda s, x: torch.cat((s.one(x), s.other(x)), -1), one=one, other=other), 7

    def residual(self, c: int) -> tuple[nn.Module, int]:
        up, down = nn.Linear(c, 6), nn.Linear(6, c)
        return Call(lambda s, x: x + s.down(F.gelu(s.up(x))), up=up, down=down), c

    def gate(self, c: int) -> tuple[nn.Module, int]:
        def forward(self: Any, x: Tensor) -> Tensor:
            one, other = self.layer(x).chunk(2, -1)
            return one * other.sigmoid()

        return Call(forward, layer=nn.Linear(c, 8)), 4

    def bare(self, c: int) -> tuple[nn.Module, int]:
        return nn.Sequential(nn.Linear(c, 5), nn.LayerNorm(5, elementwise_affine=False)), 5


class Sequences:
    """Blocks on streams ``[B, T, E]``."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose

    def block(self, e: int) -> tuple[nn.Module, int]:
        names = ["attention", "transformer", "recurrent", "by_hand", "mlp", "linear", "positions"]
        return getattr(self, self.choose.choice(names))(e)

    def attention(self, e: int) -> tuple[nn.Module, int]:
        inside = nn.MultiheadAttention(8, 4, batch_first=True)
        read = nn.Linear(e, 8)

        def forward(self: Any, x: Tensor) -> Tensor:
            y = self.read(x)
            return y + self.inside(y, y, y, need_weights=False)[0]

        return Call(forward, read=read, inside=inside), 8

    def transformer(self, e: int) -> tuple[nn.Module, int]:
        first = self.choose.random() < 0.5
        layer = nn.TransformerEncoderLayer(8, 2, 6, 0.0, batch_first=True, norm_first=first)
        return nn.Sequential(nn.Linear(e, 8), layer), 8

    def recurrent(self, e: int) -> tuple[nn.Module, int]:
        kind = self.choose.choice([nn.LSTM, nn.GRU, nn.RNN])
        both, layers = self.choose.random() < 0.5, self.choose.choice([1, 2])
        inside = kind(e, 4, layers, batch_first=True, bidirectional=both)
        return Call(lambda s, x: s.inside(x)[0], inside=inside), 4 * (1 + both)

    def by_hand(self, e: int) -> tuple[nn.Module, int]:
        def forward(self: Any, x: Tensor) -> Tensor:
            q, k, v = self.project(x).chunk(3, dim=-1)
            q = q.view(x.shape[0], x.shape[1], -1, 3).transpose(1, 2)
            k = k.unflatten(-1, (-1, 3)).transpose(1, 2)
            v = v.reshape(x.size(0), -1, v.size(-1) // 3, 3).transpose(1, 2)
            if self.fused:
                seen = F.scaled_dot_product_attention(q, k, v)
            else:
                seen = (q @ k.transpose(-2, -1) / 3**0.5).softmax(-1) @ v
            return self.out(seen.transpose(1, 2).flatten(2))

        project, out = nn.Linear(e, 36), nn.Linear(12, 6)
        return Call(forward, project=project, out=out, fused=self.choose.random() < 0.5), 6

    def mlp(self, e: int) -> tuple[nn.Module, int]:
        norm, up, down = nn.LayerNorm(e), nn.Linear(e, 7), nn.Linear(7, e)
        return Call(
            lambda s, x: x + s.down(F.gelu(s.up(s.norm(x)))), norm=norm, up=up, down=down
        ), e

    def linear(self, e: int) -> tuple[nn.Module, int]:
        return nn.Sequential(nn.Linear(e, 6), self.choose.choice(ACTIVATIONS)()), 6

    def positions(self, e: int) -> tuple[nn.Module, int]:
        return Call(lambda s, x: x + s.pos, pos=torch.randn(1, 5, e)), e


class Network(nn.Module):
    """Stem, blocks and head in a row."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x)


class Tied(nn.Module):
    """A language model whose head is its embedding."""

    def __init__(self, blocks: nn.Module, e: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6)
        self.blocks, self.back, self.head = blocks, nn.Linear(e, 6), nn.Linear(6, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.back(self.blocks(self.embedding(x))))


def network(seed: int) -> tuple[nn.Module, Tensor]:
    """Returns a network in float64 with statistics of its own, in evaluation mode, and an example."""
    choose = random.Random(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = choose.choice(["vectors", "pictures", "pictures", "sequences", "words"])
        net, example = {"pictures": _pictures, "vectors": _vectors}.get(kind, _sequences)(
            choose, kind
        )
        return stirred(net.double()), example.double() if example.is_floating_point() else example


def stirred(net: nn.Module) -> nn.Module:
    """Gives parameters and running statistics random numbers: none is at its special start."""
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.3 * torch.randn_like(tensor))
    return net.eval()


def _chain(maker: Any, c: int, choose: random.Random) -> tuple[list[nn.Module], int]:
    parts = []
    for _ in range(choose.randint(1, 4)):
        part, c = maker.block(c)
        parts.append(part)
    return parts, c


def _vectors(choose: random.Random, _: str) -> tuple[nn.Module, Tensor]:
    parts, c = _chain(Vectors(choose), 6, choose)
    return Network([nn.Linear(5, 6), nn.Tanh(), *parts, nn.Linear(c, 3)]), torch.randn(4, 5)


def _pictures(choose: random.Random, _: str) -> tuple[nn.Module, Tensor]:
    n = choose.choice([1, 2, 2, 3])
    maker = Pictures(choose, n)
    parts: list[nn.Module] = [CONV[n](2, 6, 3, padding=1)]
    c = 6
    for _ in range(choose.randint(1, 3)):
        part, made = maker.block(c)
        parts += [part]
        c = made
        if c % 2 or c > 8:
            parts, c = [*parts, CONV[n](c, 4, 1)], 4
    size = {1: 12, 2: 9, 3: 7}[n]
    positions = nn.Sequential(*parts).eval()(torch.randn(2, 2, *[size] * n))[0, 0].numel()
    ends: list[tuple[nn.Module, int]] = [
        (nn.Flatten(), c * positions),
        (Call(lambda s, x: x.contiguous().view(x.size(0), -1)), c * positions),
        (Call(lambda s, x: x.reshape(x.shape[0], x.shape[1] * positions)), c * positions),
        (Call(lambda s, x: x.mean(list(range(2, 2 + n)))), c),
    ]
    end, wide = choose.choice(ends[:3] if n == 1 else ends)
    after, last = _chain(Vectors(choose), 5, choose)
    return Network([*parts, end, nn.Linear(wide, 5), *after, nn.Linear(last, 3)]), torch.randn(
        3, 2, *[size] * n
    )


def _sequences(choose: random.Random, kind: str) -> tuple[nn.Module, Tensor]:
    blocks, e = _chain(Sequences(choose), 6, choose)
    words = torch.randint(0, 9, (3, 5))
    if kind == "words":
        return Tied(nn.Sequential(*blocks), e), words
    end = Call(lambda s, x: x.mean(1))
    return Network([nn.Linear(4, 6), *blocks, end, nn.Linear(e, 3)]), torch.randn(3, 5, 4)


def random_plan(graph: Graph, seed: int, *, least: int = 1) -> Plan:
    """Returns a random legal plan that is exact: nothing goes that an operation normalises over."""
    choose, removed = random.Random(seed), {}
    for group in graph.groups:
        spare = group.size - least
        if spare > 0 and not group.mixed:
            removed[group.name] = choose.sample(range(group.size), choose.randint(0, spare))
    return graph.plan(removed)


def mask(net: nn.Module, plan: Plan, *, buffers: bool = True) -> None:
    """Sets to 0 what a plan removes, in place."""
    with torch.no_grad():
        for name, leaf in leaves(net).items() if buffers else net.named_parameters():
            if name in plan.cuts:
                leaf.mul_(plan.mask(name, leaf.shape).to(leaf))


def make_optimizer(net: nn.Module, kind: str) -> torch.optim.Optimizer:
    """Returns SGD with momentum, or AdamW.

    The gradient of a bias before a BatchNorm is rounding and nothing else. Adam divides it by its own size; the larger eps
    keeps that from growing into differences that have nothing to do with cutting.
    """
    if kind == "sgd":
        return torch.optim.SGD(net.parameters(), lr=2e-4, momentum=0.9, weight_decay=1e-3)
    return torch.optim.AdamW(net.parameters(), lr=1e-3, eps=1e-4)


def train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    steps: int,
    plan: Plan | None = None,
) -> None:
    """Takes steps in training mode on a fixed regression task; with a plan the network stays masked."""
    net.train()
    for _ in range(steps):
        out = net(x)
        target = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
        optimizer.zero_grad()
        (out - target).square().mean().backward()
        optimizer.step()
        if plan is not None:
            mask(net, plan, buffers=False)
    net.eval()


def cut_and_masked(seed: int) -> tuple[float, float, float]:
    """Returns the largest differences between a cut and a masked network, at once and after 20 steps, and the share cut.

    Both have taken 3 steps before, so that their optimizers have a past.
    """
    net, x = network(seed)
    kind = "sgd" if seed % 2 else "adamw"
    graph = Graph.of(net, x)
    optimizer = make_optimizer(graph.traced, kind)
    train(graph.traced, optimizer, x, 3)
    plan = random_plan(graph, seed)
    other = copy.deepcopy(graph.traced)
    others = make_optimizer(other, kind)
    others.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before = sum(p.numel() for p in other.parameters())
    mask(other, plan)
    apply(plan, graph.traced, optimizers=[optimizer])
    with torch.no_grad():
        at_once = float((graph.traced(x) - other(x)).abs().max())
    train(graph.traced, optimizer, x, 20)
    train(other, others, x, 20, plan)
    with torch.no_grad():
        later = float((graph.traced(x) - other(x)).abs().max())
    after = sum(p.numel() for p in graph.traced.parameters())
    return at_once, later, 1 - after / before


def deaden(graph: Graph, seed: int) -> None:
    """Makes about half of the channels constant in one way or another, most of them not 0, in place."""
    choose, held = random.Random(seed), leaves(graph.traced)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in graph.traced.modules():
            scale = getattr(module, "theta", None)
            if isinstance(module, _NormBase | nn.GroupNorm) and choose.random() < 0.6:
                scale = module.weight
            if scale is not None:
                scale[torch.rand(len(scale), generator=source) < 0.5] = 0
        for group in graph.groups:
            way = choose.choice(["leave", "rows", "rows without biases", "all"])
            chosen = choose.sample(range(group.size), group.size // 2)
            for slot in group.slots:
                leaf = held.get(slot.leaf)
                rows = slot.dim == 0 and not slot.leaf.endswith("running_var")
                wide = leaf is not None and leaf.ndim > 1
                if way == "all" or (
                    rows and (way == "rows" or (wide and way == "rows without biases"))
                ):
                    at = [p for channel in chosen for p in slot.positions[channel]]
                    if leaf is not None:
                        leaf.index_fill_(slot.dim, torch.tensor(at, dtype=torch.long), 0)


def collected(seed: int) -> tuple[float, int]:
    """Returns the largest difference that a collection makes on new inputs, and how many channels it removed.

    Half of the networks have switches. Where training goes on, the outputs in training mode are compared, too.
    """
    net, x = network(seed)
    graph, continues = Graph.of(net, x), seed % 2 == 0
    if seed % 4 < 2 and any(isinstance(m, nn.Linear | _ConvNd) for m in graph.traced.modules()):
        with contextlib.suppress(ConfigError):  # nowhere a place for one
            insert_switches(graph.traced, streams=seed % 8 < 2)
            graph = Graph.of(graph.traced, x)
    deaden(graph, seed)
    before = copy.deepcopy(graph.traced)
    after, report = collect(graph, continues=continues)
    other = 3 * torch.randn_like(x) if x.is_floating_point() else x.flip(0)
    apart = 0.0
    for training in (False, True) if continues else (False,):
        for inputs in (x, other):
            with torch.no_grad():
                one, two = before.train(training)(inputs), after.traced.train(training)(inputs)
            apart = max(apart, float((one - two).abs().max()))
    return apart, sum(map(len, report.plan.removed.values()))
