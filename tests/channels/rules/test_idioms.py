"""Idioms of people's code: names of NumPy and of any kind, tensors made anew and filled, places that a tensor gives."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported, trace
from netdial.core.errors import TraceError
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan

from ..networks import mask

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def cut(net: nn.Module, x: Tensor, *, heads: str = "whole") -> dict[str, int]:
    """Returns the widths of a network that was cut, after it was compared with zeros in the same places, in both modes."""
    net = net.double()
    graph = Graph.of(copy.deepcopy(net), x)
    for size in (1, 3):
        batch = x[torch.arange(size) % len(x)]
        assert same_outputs(evaluated(net, batch), evaluated(graph.traced, batch))
    free = [group for group in graph.groups if group.size > 1 and not group.mixed]
    plan = Plan.remove(
        free, {group.name: range(0, group.size - 1, 2) for group in free}, graph.shapes
    )
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    for training in (False, True):
        runs = []
        for one in (masked, graph.traced):
            torch.manual_seed(0)
            with torch.no_grad():
                runs.append(one.train(training)(x))
        assert same_outputs(*([run] for run in runs))
    return graph.widths


class Calls(nn.Module):
    """A hidden layer that a function of the test reads."""

    def __init__(self, between: Callable[[nn.Module, Tensor], Tensor], wide: int = 6) -> None:
        super().__init__()
        self.between = between
        self.inp, self.mid, self.out = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(wide, 2)
        self.table = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.between(self, torch.relu(self.inp(x))))


class Reserved(nn.Module):
    """Parts with names that are words of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"in": nn.Linear(4, 6), "is": nn.Linear(6, 5)})
        self.parts.register_parameter("class", nn.Parameter(torch.rand(6)))
        self.add_module("lambda", nn.Linear(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.parts["in"](x)) * getattr(self.parts, "class")
        return self.get_submodule("lambda")(torch.relu(self.parts["is"](h)))


def test_parts_may_be_called_by_words_of_python() -> None:
    net = Reserved()
    assert cut(net, X) == {"parts.in": 6, "parts.is": 5}
    traced = Graph.of(net, X).traced
    assert same_outputs(evaluated(net, X), evaluated(copy.deepcopy(traced), X))


def uninitialised(net: nn.Module, h: Tensor) -> Tensor:
    """Attention whose scores are put into a buffer that holds anything at all, as nothing of it is read."""
    h = h.unsqueeze(1)
    buffer = torch.full((h.size(0), 1, 1), float("nan"), dtype=h.dtype, device=h.device)
    scores = torch.baddbmm(buffer, h, h.transpose(1, 2), beta=0.0, alpha=0.5)
    return torch.bmm(scores, net.mid(h)).squeeze(1)


def test_what_a_product_is_not_added_to_is_not_read() -> None:
    assert cut(Calls(uninitialised), X) == {"inp": 6, "mid": 6}


NUMPYS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "mean": lambda net, h: torch.mean(torch.stack([h, net.mid(h)], axis=1), axis=1),
    "keepdims": lambda net, h: h - torch.stack((h, net.mid(h))).sum(axis=0, keepdims=False),
    "softmax": lambda net, h: (torch.softmax(torch.stack((h, h * h)), axis=0) * h).sum(axis=0),
    "max": lambda net, h: torch.max(torch.stack((h, net.mid(h))), axis=0)[0],
    "cat": lambda net, h: torch.cat((h[:, None], net.mid(h)[:, None]), axis=1).amax(axis=1),
    "unsqueeze": lambda net, h: h.unsqueeze(-1).squeeze(-1) + torch.mul(x1=h, x2=net.mid(h)),
}  # type: ignore[call-overload]


@pytest.mark.parametrize("name", NUMPYS)
def test_arguments_may_have_the_names_of_numpy(name: str) -> None:
    widths = cut(Calls(NUMPYS[name]), X)
    assert widths["inp"] == 6


def links(net: nn.Module, h: Tensor) -> Tensor:
    """A graph of the greatest links, whose mask is zeros made anew."""
    links = torch.relu(net.table @ net.table.t())
    mask = torch.zeros(3, 3).to(links)
    greatest, at = links.topk(2, 1)
    mask.scatter_(1, at, greatest.fill_(1))
    return h + ((links * mask) @ net.table).sum(0)


def filled(net: nn.Module, h: Tensor) -> Tensor:
    """Two rows made anew and filled with what is computed, read by their own name."""
    rows = torch.zeros(2, 6, dtype=torch.float64)
    rows[0] = net.table[1]
    rows[1] += net.table[2] * 2
    return h * rows.sum(0) + rows[0]


@pytest.mark.parametrize("made", [links, filled])
def test_tensors_that_are_made_anew_may_be_changed_in_place(
    made: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    net = Calls(made).double()
    assert cut(net, X) in ({"inp": 6, "table": 3}, {"inp": 6})
    traced = Graph.of(net, X).traced
    first = evaluated(traced, X)
    assert same_outputs(first, evaluated(traced, X))  # each time anew


class Relative(nn.Module):
    """Attention by content and, gathered from a table of distances, by place; heads of computed number."""

    def __init__(self, heads: int = 3) -> None:
        super().__init__()
        self.inp, self.out, self.wide = nn.Linear(4, 12), nn.Linear(12, 2), 12 // heads
        self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))
        self.places, self.rel = nn.Embedding(7, 12), nn.Linear(12, 12)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self.wide).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        q, k, v = (self.heads(f(h)) for f in (self.q, self.k, self.v))
        at = torch.arange(4)
        at = (at[:, None] - at[None] + 3)[None, None]
        by_place = q @ self.heads(self.rel(self.places.weight[None])).transpose(-1, -2)
        by_place = torch.gather(by_place, -1, at.expand(q.size(0), q.size(1), 4, 4))
        scores = torch.softmax(q @ k.transpose(-1, -2) + by_place, -1)
        return self.out((scores @ v).transpose(1, 2).flatten(2)).mean(1)


@pytest.mark.slow
def test_distances_are_gathered_for_each_head() -> None:
    x = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    widths = cut(Relative(), x)
    assert widths["q"] == 3  # heads
    assert widths["inp"] == 12


def gridded(net: nn.Module, h: Tensor) -> Tensor:
    """Adds a number that is read at each place of a grid."""
    line = torch.linspace(0, 1, 3).to(h)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return F.relu(h) * (rows * columns).sum()


def test_grids_pass() -> None:
    assert cut(Calls(gridded), X) == {"inp": 6}


class Levels(nn.Module):
    """Adds what an operation without a rule makes of a constant: nothing that is learnt can be cut there."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        line = torch.linspace(0, 1, 6).to(x)
        levels = torch.bucketize(line * 2, line).to(x)
        return self.out(F.relu(self.inp(x))) * torch.heaviside(line, levels).sum()


def test_operations_without_a_rule_on_constants_do_no_harm() -> None:
    assert cut(Levels(), X) == {"inp": 6}


class Partial(nn.Module):
    """A convolution over what a mask lets through, which is counted without gradients; types are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.mid, self.out = (
            nn.Conv2d(1, 6, 3, padding=1),
            nn.Conv2d(6, 5, 1),
            nn.Conv2d(5, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            if x.type() == "torch.LongTensor":
                raise ValueError(x.type())
            seen = (x > 0).to(x.dtype)
            ratio = 9 / (F.avg_pool2d(seen, 3, 1, 1) * 9 + 1e-8)
            level = torch.tanh(self.mid.weight.sum(1, keepdim=True))
        h = torch.relu(self.inp(x * seen) * ratio)
        return self.out(F.conv2d(h, self.mid.weight * level, self.mid.bias))


def gradients(net: nn.Module, run: nn.Module, x: Tensor) -> list[Tensor]:
    """Returns gradients of a network's parameters, by a graph that shares them."""
    net.zero_grad()
    run(x).square().sum().backward()
    return [parameter.grad.clone() for parameter in net.parameters()]  # type: ignore[union-attr]


@pytest.mark.slow
def test_blocks_without_gradients_are_followed_where_only_export_can_trace() -> None:
    p = torch.randn(3, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    net = Partial().double()
    traced = trace(net, p)
    assert is_exported(traced)
    assert cut(net, p)["inp"] == 6
    assert all(map(torch.allclose, gradients(net, net, p), gradients(net, traced, p)))


class Latent(nn.Module):
    """A latent that is a distribution, drawn from in training, and how far it is from another."""

    def __init__(self, *, independent: bool) -> None:
        super().__init__()
        self.inp, self.mean, self.scale = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3)
        self.mid, self.out, self.independent = nn.Linear(3, 5), nn.Linear(5, 2), independent

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.inp(x))
        latent = Normal(self.mean(h), self.scale(h).exp())
        whole = Independent(latent, 1) if self.independent else latent
        z = whole.rsample() if self.training else whole.mean
        far = kl_divergence(latent, Normal(torch.zeros_like(z), torch.ones_like(z))).sum(-1)
        return self.out(torch.relu(self.mid(z))), far


@pytest.mark.slow
@pytest.mark.parametrize("independent", [True, False])
def test_distributions_pass_and_check_their_numbers_afterwards(
    *, independent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distribution, "_validate_args", True)  # torch.compile turns it off for good
    widths = cut(Latent(independent=independent), X)
    assert widths["inp"] == 6
    assert widths["mid"] == 5
    with pytest.raises(ValueError, match="scale"):
        Normal(torch.zeros(1), -torch.ones(1))


class Members(nn.Module):
    """Two members of one kind in one call."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 6), nn.Linear(5, 2)
        self.weights, self.bias = (
            nn.Parameter(torch.randn(2, 5, 6)),
            nn.Parameter(torch.randn(2, 5)),
        )

    def forward(self, x: Tensor) -> Tensor:
        def member(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
            return torch.relu(F.linear(x, weight, bias))

        made = torch.vmap(member, in_dims=(0, 0, None))(
            self.weights, self.bias, torch.relu(self.inp(x))
        )
        return self.out(made.mean(0))


@pytest.mark.slow
def test_members_in_one_call_are_cut() -> None:
    assert cut(Members(), X) == {"inp": 6, "weights": 2, "weights#2": 5}  # members and rows of each


class Lazy(nn.Module):
    """Makes what it was not given unless it is compiled, and then fails without it."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None and not torch.compiler.is_compiling():
            mask = torch.ones(x.shape[0], dtype=x.dtype)
        if x.shape[1] % 2:  # torch.fx cannot follow that
            raise ValueError(x.shape)
        return self.out(torch.relu(self.inp(x)) * mask[:, None])


@pytest.mark.slow
def test_code_that_does_less_while_it_is_compiled_is_followed_as_it_runs() -> None:
    asks = torch.compiler.is_compiling
    assert cut(Lazy(), X) == {"inp": 6}
    assert torch.compiler.is_compiling is asks
    traced = trace(Lazy().double(), X)
    assert is_exported(traced)


class InMemory(Lazy):
    """A conversion that says how its result lies in memory."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if x.shape[1] % 2:  # torch.fx cannot follow that
            raise ValueError(x.shape)
        h = torch.relu(self.inp(x)).to(torch.float32, memory_format=torch.contiguous_format)
        return self.out(h.to(x, memory_format=torch.preserve_format))


def test_how_tensors_lie_in_memory_is_followed() -> None:
    assert cut(InMemory(), X) == {"inp": 6}


class Pictured(nn.Module):
    """Words among which rows of pictures are put, picture by picture: as models that read both do."""

    def __init__(self, together: Callable[..., Tensor]) -> None:
        super().__init__()
        self.together = together
        self.inp, self.seen, self.out = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)
        self.register_buffer("places", torch.tensor([True, False, True]))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.together(self, list(self.seen(x[:, 1:])))
        places = self.places[:, None].expand(x.shape[0], -1, 1)
        return self.out(torch.relu(self.inp(x).masked_scatter(places, rows)))


@pytest.mark.slow
def test_a_list_of_examples_that_is_put_together_is_followed() -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert cut(Pictured(lambda s, rows: torch.cat(rows, dim=0)), x) == {"seen": 6}
    assert cut(Pictured(lambda s, rows: torch.stack(rows)), x) == {"seen": 6}
    one_by_one = Pictured(lambda s, rows: torch.cat([torch.relu(row) for row in rows]))
    with pytest.raises(TraceError, match=r"test_idioms\.py:\d+ .*examples of the batch one by one"):
        trace(one_by_one.double(), x)
    assert len(x) == len(list(x)) == 2


class LazyByValues(Lazy):
    """The same, where nothing can follow it as it runs either."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        made = super().forward(x, mask)
        return made if made.sum() > 0 else -made


def test_code_that_fails_where_it_is_compiled_is_refused_for_what_it_does_as_it_runs() -> None:
    with pytest.raises(TraceError, match=r"either: the code goes by numbers .*test_idioms\.py:\d+"):
        trace(LazyByValues().double(), X)


class Neighbours(nn.Module):
    """Adds what neighbours have, by a sparse matrix."""

    def __init__(self, *, buffer: bool) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 6), nn.Linear(6, 2)
        links = torch.tensor([[0.0, 0.5], [0.5, 0.0]]).to_sparse()
        if buffer:
            self.register_buffer("links", links)
        else:
            self.links = links

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.inp(x)).mean(1)
        return self.out(torch.sparse.mm(self.links.to(x.dtype), h))


@pytest.mark.parametrize("buffer", [True, False])
def test_sparse_matrices_pass(*, buffer: bool) -> None:
    nodes = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = Neighbours(buffer=buffer).double()
    assert Graph.of(net, nodes).widths == {"inp": 6}


class Skips(nn.Module):
    """Draws a number that decides nothing, as those do that could leave out layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out, self.drop = nn.Linear(4, 6), nn.Linear(6, 2), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % 2:  # torch.fx cannot follow that
            raise ValueError(x.shape)
        h = torch.relu(self.inp(x))
        if self.training:
            torch.rand([])
        return self.out(self.drop(h))


def test_draws_that_are_not_used_do_not_make_another_network() -> None:
    traced = trace(Skips().double(), X)
    assert is_exported(traced)


def taken(net: nn.Module, h: Tensor) -> Tensor:
    """The last of three copies, by an order for all rows and channels."""
    copies = torch.stack([h, h * 2, net.mid(h)], 1)
    order = torch.tensor([2, 0, 1]).view(1, 3, 1)
    return torch.take_along_dim(copies, order, dim=1)[:, 0]


def test_places_for_all_channels_are_taken() -> None:
    assert cut(Calls(taken), X) == {"inp": 6}


class Triangles(nn.Module):
    """A triangle whose entries are written at places that a tensor gives: they stay, and what is before is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.sides = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.inp(x))
        at = torch.tril_indices(2, 2)
        whole = torch.zeros(x.shape[0], 2, 2, dtype=x.dtype)
        whole[:, at[0], at[1]] = self.sides(h)
        return whole @ whole.mT


def test_what_is_written_at_places_of_a_tensor_stays() -> None:
    assert cut(Triangles(), X) == {"inp": 6}


def always(net: nn.Module, h: Tensor) -> Tensor:
    return F.dropout(h, 0.3, training=True)


def test_dropout_that_evaluation_has_too_is_refused_with_what_to_do() -> None:
    with pytest.raises(TraceError, match=r"draws in evaluation as well.*training=self\.training"):
        Graph.of(Calls(always).double(), X)


class Spread(nn.Module):
    """Variances of maps, from products of all with all."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x).transpose(1, 2)
        h = h - h.mean(2, keepdim=True)
        return self.out(torch.diagonal(h @ h.mT / h.shape[2], dim1=1, dim2=2))


class Turned(nn.Module):
    """Attention whose heads are turned by their places as complex numbers, and differences of neighbouring places."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 12), nn.Linear(12, 2)
        self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))
        angles = torch.outer(torch.arange(4.0), torch.tensor([1.0, 0.1]))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def turned(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turns[None, :, None].to(pairs.dtype)).flatten(3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        q, k, v = (f(h).view(*h.shape[:-1], -1, 4) for f in (self.q, self.k, self.v))
        scores = torch.einsum("bthd,bshd->bhts", self.turned(q), self.turned(k)).softmax(-1)
        h = torch.einsum("bhts,bshd->bthd", scores, v).flatten(2)
        return self.out(torch.diff(h, dim=1))


@pytest.mark.slow
def test_diagonals_pairs_and_neighbours() -> None:
    x = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    assert cut(Spread(), x) == {"inp": 6}
    widths = cut(Turned(), x)
    assert widths["inp"] == 12
    assert widths["q"] == 3  # heads


class Laid(nn.Module):
    """Lays numbers out anew before a dropout, which draws in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out, self.drop = nn.Conv1d(4, 6, 1), nn.Linear(6, 2), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % 2:  # torch.fx cannot follow that
            raise ValueError(x.shape)
        return self.out(self.drop(torch.relu(self.inp(x)).transpose(1, 2).contiguous()))


def test_dropout_draws_in_the_order_that_numbers_are_laid_out_in() -> None:
    x = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    net = Laid().double()
    traced = trace(net, x)
    assert is_exported(traced)
    runs = []
    for one in (net, traced):
        torch.manual_seed(0)
        runs.append(one.train()(x))
    assert torch.equal(*runs)


class Fused(nn.Module):
    """One layer makes a part that stays, and the values and gates of a unit, by sizes written down."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = (3, 2 * 6)
        self.both, self.kept, self.out = nn.Linear(4, 15), nn.Linear(3, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        kept, unit = self.both(x).split(self.sizes, dim=-1)
        value, gate = unit.chunk(2, dim=-1)
        return self.kept(kept.softmax(-1)) + self.out(F.silu(gate) * value)


def test_a_part_that_has_each_channel_twice_follows() -> None:
    torch.manual_seed(0)
    net, x = Fused().double().eval(), torch.randn(3, 4, dtype=torch.float64)
    graph = Graph.of(net, x)
    assert graph.widths == {"both": 3, "both#2": 6}  # the softmax normalises over the first
    with torch.no_grad():
        made, left = net.both(x), [0, 2, 3, 5]
        unit = F.silu(made[:, 9:][:, left]) * made[:, 3:9][:, left]
        wanted = net.kept(made[:, :3].softmax(-1))
        wanted = wanted + F.linear(unit, net.out.weight[:, left], net.out.bias)
    apply(graph.plan({"both#2": [1, 4]}), graph.traced)
    assert net.both.weight.shape == (11, 4)
    torch.testing.assert_close(graph.traced(x), wanted)


class Outer(nn.Module):
    """Products of the channels of two layers, or a weight of three dimensions, laid out as one."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.a, self.b = nn.Linear(4, 6), nn.Linear(4, 5)
        self.base, self.spline = nn.Parameter(torch.randn(3, 6)), nn.Parameter(torch.randn(3, 6, 2))
        self.scale, self.out = nn.Parameter(torch.randn(3, 6)), nn.Linear(30, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        if self.way == "products":
            both = h.unsqueeze(2) * torch.sigmoid(self.b(x)).unsqueeze(1)
            found: Tensor = self.out(both.view(x.size(0), -1))
            return found
        powers = torch.stack([h**2, h**3], -1).view(x.size(0), -1)
        weight = (self.spline * self.scale.unsqueeze(-1)).view(3, -1)
        return F.linear(h, self.base) + F.linear(powers, weight)


@pytest.mark.parametrize(
    ("way", "widths"), [("products", {"a": 6}), ("splines", {"a": 6})], ids=["products", "splines"]
)
def test_of_several_channels_laid_out_as_one_the_first_go(way: str, widths: dict[str, int]) -> None:
    found = cut(Outer(way), X)
    assert {name: found[name] for name in widths} == widths
