"""Networks that only torch.export can trace: the same groups where both ways can, exact cuts, files, and clear refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported, trace
from netdial.core.errors import TraceError
from netdial.core.outputs import evaluated, same_outputs
from netdial.models.cut.recipe import save_network
from netdial.models.cut.restoring import load_network
from netdial.nets import build
from netdial.shrinking.shrink import Shrunk

from .. import networks
from ..networks import stirred


class Wrapped(nn.Module):
    """A network, and a question about shapes that does not change what it computes but stops torch.fx."""

    def __init__(self, net: nn.Module, *, asks: bool) -> None:
        super().__init__()
        self.net, self.asks = net, asks

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.dim() == 0:
            raise ValueError("a number has no channels")
        return self.net(x)


class Net(nn.Module):
    """Two layers and a function that says what happens between them, after a question about shapes."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor], read: int = 6) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(read, 3)
        self.free = nn.Parameter(torch.linspace(0.5, 2, 6))
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == self.one.in_features, "wrong inputs"
        return self.two(self.between(self, self.one(x)))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = numbers(3, 4)


def cut_is_masked(graph: Graph, seed: int) -> float:
    """Returns the largest difference between the outputs of a network that a random plan cut, and of a masked one."""
    plan = networks.random_plan(graph, seed, least=2)
    masked = copy.deepcopy(graph.traced).eval()
    networks.mask(masked, plan)
    apply(plan, graph.traced.eval())
    x = 2 * graph.example if graph.example.is_floating_point() else graph.example
    with torch.no_grad():
        return float((graph.traced(x) - masked(x)).abs().max())


def same_both_ways(net: nn.Module, x: Tensor) -> Graph:
    """Returns the graph by torch.export, whose groups are those of the graph by torch.fx."""
    by_fx, by_export = (Graph.of(Wrapped(net, asks=asks), x) for asks in (False, True))
    assert (is_exported(by_fx.traced), is_exported(by_export.traced)) == (False, True)
    assert [(g.name, g.slots) for g in by_export.groups] == [
        (g.name, g.slots) for g in by_fx.groups
    ]
    assert by_export.kept.keys() == by_fx.kept.keys()
    assert [len(group.mixed) for group in by_export.groups] == [len(g.mixed) for g in by_fx.groups]
    mine = {id(parameter) for parameter in net.parameters()}
    assert {id(parameter) for parameter in by_export.traced.parameters()} <= mine
    return by_export


SOME, OTHERS = (2, 8), (1, 3, 4, 5, 7, 9, 12, 13, 14, 15, 16, 27, 30)
"""Networks of every kind, and further ones."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "which", [*SOME, *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)]
)
def test_both_ways_find_the_same_groups_and_cuts_are_exact(which: int) -> None:
    net, x = networks.network(which)
    assert cut_is_masked(same_both_ways(net, x), which) <= 1e-10


@pytest.mark.slow
def test_both_ways_agree_on_a_residual_network() -> None:
    net = stirred(build("resnet20", input_shape=[3, 8, 8], n_outputs=4)).double()
    assert cut_is_masked(same_both_ways(net, numbers(2, 3, 8, 8).double()), 0) <= 1e-10


@pytest.mark.slow
def test_heads_whose_count_is_computed_follow_in_an_exported_graph() -> None:
    """v.size(-1) // 3 is a number there, like one that is written in the code."""
    net, x = networks.network(6)
    by_fx, by_export = (Graph.of(Wrapped(net, asks=asks), x) for asks in (False, True))
    assert by_fx.widths == by_export.widths
    assert cut_is_masked(by_export, 6) <= 1e-10


class Residual(nn.Module):
    """Adds what goes in, through a layer only if shapes differ."""

    def __init__(self, read: int, made: int) -> None:
        super().__init__()
        self.one = nn.Sequential(
            nn.Conv2d(read, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True)
        )
        self.two = nn.Conv2d(5, made, 3, padding=1)
        self.fit = nn.Conv2d(read, made, 1) if read != made else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(self.one(x))
        return F.relu(y + (x if self.fit is None or x.shape == y.shape else self.fit(x)))


class Pictures(nn.Module):
    """A small residual network that also takes single-channel pictures without their channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.blocks = nn.ModuleList([Residual(6, 6), Residual(6, 8)])
        self.head = nn.Linear(8 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            x = x[:, None]
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        b, c, h, _ = x.shape
        if h > 2:
            x = F.adaptive_avg_pool2d(x, 2)
        return self.head(x.view(b, c * 4))


class Checked(nn.Module):
    """A helper that insists on a shape."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        self.ndim = ndim

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != self.ndim or not isinstance(x, Tensor):
            raise ValueError(f"expected {self.ndim} dimensions, got {x.ndim}")
        return x


class Transformer(nn.Module):
    """An encoder layer of torch's own and attention apart, between layers, with as many positions as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.check, self.read = Checked(3), nn.Linear(4, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 4, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.layer(self.read(self.check(x)), src_mask=mask)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        seen = x[:, 0]
        for position in range(1, x.size(1)):
            seen = seen + x[:, position]
        return self.head(seen / x.size(1))


class Series(nn.Module):
    """Convolutions over time, fed with or without a dimension for channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv1d(1, 7, 3, padding=1), nn.BatchNorm1d(7)
        self.two, self.head = nn.Conv1d(7, 5, 3, padding=1), nn.Linear(5, 3)

    def forward(self, *args: Tensor) -> Tensor:
        (x,) = args
        if len(x.shape) == 2:
            x = x.unsqueeze(1)
        x = F.dropout(F.relu(self.norm(self.one(x))), 0.1, self.training)
        return self.head(F.relu(self.two(x)).mean(-1))


class Recurrent(nn.Module):
    """A recurrence that is read at its last step, through a layer that is called twice."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.read, self.inside = nn.Linear(4, 6), kind(6, 5, batch_first=True)
        self.twice, self.head = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.inside(self.read(x).tanh())
        last = found[:, -1] if found.size(1) > 1 else found.squeeze(1)
        return self.head(self.twice(self.twice(last).tanh()))


class Vectors(nn.Module):
    """Layers and parameters used directly, on the processor or not, in batches of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 9), nn.Linear(9, 7), nn.Linear(7, 3)
        self.scale = nn.Parameter(torch.ones(9))
        self.register_buffer("shift", torch.full((9,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and x.dtype == torch.float16:
            x = x.float()
        columns = x.size(-1)
        x = F.relu(self.one(x.view(len(x), -1)) * self.scale + self.shift)
        x = F.linear(x, self.two.weight, bias=self.two.bias)
        return self.head(F.gelu(x) if columns % 2 == 0 else x)


ONLY: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "pictures": (Pictures, (6, 6)),
    "transformer": (Transformer, (5, 4)),
    "series": (Series, (9,)),
    "recurrent": (Recurrent, (5, 4)),
    "vectors": (Vectors, (4,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ONLY))
def test_only_export_can_trace_these_and_cuts_are_exact(name: str) -> None:
    make, shape = ONLY[name]
    net, x = stirred(make()).double(), numbers(2, *shape).double()
    with pytest.raises(TraceError, match=r"cannot be traced at test_exported\.py"):
        trace(net)
    state = copy.deepcopy(net.state_dict())
    graph = Graph.of(net, x)
    assert is_exported(graph.traced)
    assert graph.groups
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    assert set(dict(graph.traced.named_parameters())) == set(dict(net.named_parameters()))
    assert cut_is_masked(graph, 1) <= 1e-10
    for rows in (1, 7):
        assert graph.traced(numbers(rows, *shape).double()).shape == (rows, 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*what comes back is a graph")
@pytest.mark.parametrize(
    "name",
    ["vectors", *(pytest.param(n, marks=pytest.mark.slow) for n in ONLY if n != "vectors")],
)
def test_from_training_to_the_users_own_class(name: str, tmp_path: Path) -> None:
    make, shape = ONLY[name]
    torch.manual_seed(2)
    net, x = make(), numbers(24, *shape)
    y = torch.arange(24) % 3
    shrunk = nd.shrink(
        net, (x, y), (x, y), lam=0.3, switch_rate=0.5, epochs=2, batch_size=6, collect_every=2
    )
    assert is_exported(shrunk.net)
    before = sum(part.numel() for part in net.parameters())
    assert shrunk.n_params < before, "nothing was cut"
    folded, report = shrunk.fold()
    nd.save(shrunk, tmp_path / "small")
    loaded = nd.load_model(tmp_path / "small", make())
    if (
        make is Recurrent
    ):  # a layer that reads the units is called again on others, so a switch stays between
        assert [left.module for left in report.left] == ["inside_switch"]
        assert isinstance(loaded, fx.GraphModule)
    else:
        assert type(loaded) is make and not report.left
    kept = sum(part.numel() for name, part in loaded.named_parameters() if "switch" not in name)
    assert kept <= shrunk.n_params
    with torch.no_grad():
        wanted = shrunk.net(x)
        torch.testing.assert_close(folded(x), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(loaded(x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_structured_pruning_takes_such_a_network() -> None:
    net = stirred(Pictures())
    pruned = nd.slim(net, share=0.4, example=numbers(4, 6, 6))
    assert pruned.n_params < sum(part.numel() for part in net.parameters())
    assert pruned.net(numbers(5, 6, 6)).shape == (5, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_other_recurrences_and_their_weights_stay_whole_objects(kind: type[nn.RNNBase]) -> None:
    net = Recurrent(kind).double()
    weights = list(net.inside._flat_weights)
    assert cut_is_masked(Graph.of(net, numbers(2, 5, 4).double()), 3) <= 1e-10
    held = dict(net.inside.named_parameters())
    assert all(any(one is other for other in held.values()) for one in weights)


@pytest.mark.slow
def test_a_layer_that_is_called_twice_is_called_twice() -> None:
    traced = trace(Recurrent(), numbers(2, 5, 4))
    called = [n.target for n in traced.graph.nodes if n.op == "call_module"]
    assert called == ["read", "inside", "twice", "twice", "head"]


def test_modes_statistics_and_dropouts_are_those_of_the_network() -> None:
    net = Series().train()
    net.norm.eval()  # frozen inside a network that trains
    was = [module.training for module in net.modules()]
    traced = trace(net, numbers(2, 9))
    assert [module.training for module in net.modules()] == was
    assert traced.training and not traced.get_submodule("norm").training
    assert int(net.norm.num_batches_tracked) == 0
    assert [m.p for m in traced.modules() if isinstance(m, nn.Dropout)] == [0.1]
    x = numbers(50, 9, seed=1)
    assert not torch.equal(traced(x), traced(x))
    assert torch.equal(traced.eval()(x), net.eval()(x))
    traced.train()(x)
    assert int(net.norm.num_batches_tracked) == 1, "layers are shared"


def test_hooks_of_layers_run_once_and_later() -> None:
    net, seen = Net(lambda self, x: x.relu()), []
    net.one.register_forward_hook(lambda module, given, made: seen.append(made.shape) or 2 * made)
    traced = trace(net, X)
    assert seen and all(type(size) is int for shape in seen for size in shape)
    torch.testing.assert_close(traced(X), net(X))


def constants(self: Any, x: Tensor) -> Tensor:
    return x * torch.tensor([1.0, 2, 3, 4, 5, 6]) + torch.ones(len(x), 1, device=x.device)


def operations(self: Any, x: Tensor) -> Tensor:
    """Many operations that are called otherwise in an exported graph."""
    y = torch.stack([1 - x, x / 2, 2 - x // 1, x % 3], 1)
    y = y.permute(0, 2, 1).mT.transpose(1, 2).mT.amax(1)
    y = torch.where(x > 0, y, -x) + x.clamp(-1, 1).square().to(x.dtype)
    one, other = y.chunk(2, 1)
    y = torch.cat([one, other], -1).unsqueeze(1).expand(-1, 2, -1).mean(1)
    z = F.interpolate(y[:, :, None], scale_factor=2).sum(-1)
    return F.pad(z[..., None], (0, 1)).squeeze(-1)[:, :, 0] * torch.softmax(y, 1)


def in_place(self: Any, x: Tensor) -> Tensor:
    before = x * 2
    x += self.free
    F.silu(x, inplace=True)  # aten has names of its own for these
    x.sigmoid_().sub_(0.5)
    F.hardswish(x, inplace=True)
    return F.relu(x, inplace=True) + before


def merged(self: Any, x: Tensor) -> Tensor:
    y = x[:, :, None] * torch.ones(2)
    return (
        y.reshape(x.shape[0], x.size(1), 2).reshape(-1, x.size(1) * 2).view(len(x), -1, 2)[..., 0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("between", [constants, operations, in_place, merged])
def test_operations_keep_their_meaning(between: Callable[[Any, Tensor], Tensor]) -> None:
    net = Net(between).double()
    graph = Graph.of(net, X.double())
    x = numbers(5, 4, seed=3).double()
    assert is_exported(graph.traced)
    torch.testing.assert_close(graph.traced(x), net(x), rtol=1e-12, atol=1e-12)
    assert cut_is_masked(graph, 0) <= 1e-10


def test_what_isinstance_hides_from_proxies_is_found() -> None:
    """torch.fx traces it, the wrong way: a proxy is no tensor."""

    class Hidden(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = self.one(x)
            return self.two(y.relu() if isinstance(y, Tensor) else -y)

    net = Hidden(lambda self, x: x)
    traced = trace(net, X)
    assert is_exported(traced)
    assert torch.equal(traced(X), net(X))


def values(self: Any, x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def counted(self: Any, x: Tensor) -> Tensor:
    return torch.stack([x[i] for i in range(x.size(0))])


def rounded(self: Any, x: Tensor) -> Tensor:
    *_, width = x.shape
    if int(0.5 * x.abs().sum() * width) > 3:  # a number that is no whole one on the way
        return x
    return -x


def in_less_exact_numbers(self: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = x @ x.t()
    return x + y.sum().to(x.dtype)


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (
            values,
            r"the code goes by numbers that its layers make, that are drawn or that are measured \(test_exported.py:\d+\)",
        ),
        (counted, "the code asks for the size of the batch as a number"),
    ],
)
def test_what_neither_can_trace_is_refused_in_one_message(
    between: Callable[[Any, Tensor], Tensor], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    net = Net(between)
    training = [module.training for module in net.modules()]
    with pytest.raises(
        TraceError,
        match=rf"^network Net: cannot be traced at test_exported.py:\d+ in .*; torch.export cannot follow it either.*: {why}"
        r".*; move what depends on values .* out of forward",
    ):
        Graph.of(net, X)
    assert capfd.readouterr() == ("", "")
    assert "len" not in globals()
    assert [module.training for module in net.modules()] == training
    assert net.one(X).shape == (3, 6), "layers are themselves again"


def by_generator(self: Any, x: Tensor) -> Tensor:
    return x + torch.randn(1, x.size(1), generator=torch.Generator().manual_seed(0))


def in_training_by_generator(self: Any, x: Tensor) -> Tensor:
    return torch.zeros_like(x).normal_(generator=torch.default_generator) if self.training else x


@pytest.mark.parametrize(
    ("between", "cure"),
    [
        (
            in_less_exact_numbers,
            "a part runs under autocast, at node .*; put it around net.x. instead",
        ),
        (by_generator, r"a generator of its own, which no graph can hold; draw without generator="),
        (in_training_by_generator, r"which no graph can hold; draw without generator="),
    ],
)
def test_a_reason_with_a_cure_of_its_own_has_no_other_advice(
    between: Callable[[Any, Tensor], Tensor], cure: str
) -> None:
    with pytest.raises(TraceError, match=f"^network Net: .* at test_exported.py:.*{cure}$"):
        Graph.of(Net(between), X)


def many(self: Any, x: Tensor) -> Tensor:
    return x if x.size(0) < 9 else -x


def more(self: Any, x: Tensor) -> Tensor:
    x = x.contiguous() if x.size(0) >= 9 else x
    return x if x.size(0) < 40 else -x


def alike(self: Any, x: Tensor) -> Tensor:
    x = x.contiguous() if x.size(0) >= 9 else x
    return x * 1 if x.size(0) * x.size(1) > 2**20 else x


@pytest.mark.parametrize(("between", "size"), [(many, 9), (more, 40)])
def test_another_way_for_many_inputs_is_refused_where_it_computes_something_else(
    between: Callable[[Any, Tensor], Tensor], size: int
) -> None:
    with pytest.raises(TraceError, match=f"does other operations on {size} inputs than on 3"):
        Graph.of(Net(between), X)


def test_another_way_for_many_inputs_that_computes_the_same_is_no_matter() -> None:
    net = Net(alike)
    graph = Graph.of(net, X)
    assert is_exported(graph.traced)
    for size in (1, 8, 9, 70):
        x = numbers(size, 4)
        assert same_outputs(evaluated(net, x), evaluated(graph.traced, x))


@pytest.mark.parametrize("weights", [1, 2, 3])
def test_a_number_that_is_no_whole_one_on_the_way_is_no_size_of_the_batch(weights: int) -> None:
    torch.manual_seed(weights)
    with pytest.raises(TraceError, match=r"torch.export cannot follow it either") as found:
        Graph.of(Net(rounded), X)
    assert "its answer holds for" not in str(found.value)


@pytest.mark.parametrize("size", [1, 4])
def test_other_operations_for_another_batch_are_refused(size: int) -> None:
    net = Net(lambda self, x: x if x.size(0) % 4 != size % 4 else -x)
    with pytest.raises(TraceError, match=rf"does other operations on {size} inputs than on 3"):
        Graph.of(net, X)


def split_by_hand(self: Any, x: Tensor) -> Tensor:
    return x.view(len(x), 2, 3).flatten(1)


def test_sizes_written_in_the_code_follow_in_an_exported_graph() -> None:
    graph = Graph.of(Net(split_by_hand), X)
    assert graph.widths == {"one": 2}
    assert cut_is_masked(graph, 1) <= 1e-6


def unknown_operation(self: Any, x: Tensor) -> Tensor:
    return x.renorm(2, 0, 1.0)


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (unknown_operation, r"node 'renorm' \(renorm, test_exported.py:\d+\): has no rule"),
    ],
)
def test_rules_refuse_what_they_refuse_always(
    between: Callable[[Any, Tensor], Tensor], why: str
) -> None:
    with pytest.raises(TraceError, match=why):
        Graph.of(Net(between), X)
    assert Graph.of(Net(between), X, lenient=True).widths == {}


def written_down(self: Any, x: Tensor) -> Tensor:
    return x[:, :, None].view(-1, 6)


def by_width(self: Any, x: Tensor) -> Tensor:
    return x.relu() if x.size(1) > 5 else x.tanh()


def by_constant(self: Any, x: Tensor) -> Tensor:
    return x * torch.tensor([x.size(1) / 6])


@pytest.mark.parametrize(
    "between",
    [
        written_down,
        pytest.param(by_width, marks=pytest.mark.slow),
        pytest.param(by_constant, marks=pytest.mark.slow),
    ],
)
def test_a_class_that_does_something_else_once_cut_is_loaded_as_a_graph(
    between: Callable[[Any, Tensor], Tensor], tmp_path: Path
) -> None:
    """Its code was followed for six channels; with four it fails, goes another way, or makes another constant."""
    graph = Graph.of(Net(between).eval(), X)
    plan = graph.plan({"one": [1, 4]})
    apply(plan, graph.traced)
    save_network(Shrunk(graph.after(plan), plan, {}), tmp_path / "small")
    with pytest.warns(UserWarning, match="Net does something else now"):
        loaded = load_network(tmp_path / "small", Net(between))
    assert type(loaded) is not Net
    torch.testing.assert_close(loaded(X), graph.traced(X))
    assert loaded.get_submodule("one").weight.shape == (4, 4)


class Masked(nn.Module):
    """Positions read what came before them; the mask is registered by the first call, for the length that it has."""

    def __init__(self, start: Tensor | None = None) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("mask", start, persistent=False)

    def before(self, length: int) -> Tensor:
        if self.mask is not None and self.mask.shape[-1] >= length:
            return self.mask[:length, :length]
        self.register_buffer("mask", torch.ones(length, length).tril().double(), persistent=False)
        return self.mask

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.before(x.shape[1]) @ self.one(x).relu())


@pytest.mark.parametrize("start", [None, torch.zeros(1, 1)], ids=["none", "of another size"])
def test_a_buffer_that_the_first_call_makes_is_one_of_the_graph(start: Tensor | None) -> None:
    net, x = Masked(start).double().eval(), numbers(3, 5, 4).double()
    graph = Graph.of(net, x)
    assert graph.widths == {"one": 6}
    assert is_exported(graph.traced)
    assert net.mask is None if start is None else torch.equal(net.mask, start)
    plan = graph.plan({"one": [1, 4]})
    with torch.no_grad():
        wanted = torch.ones(5, 5).tril().double() @ net.one(x).relu()[..., [0, 2, 3, 5]]
        wanted = wanted @ net.two.weight[:, [0, 2, 3, 5]].T + net.two.bias
    apply(plan, graph.traced)
    torch.testing.assert_close(graph.traced(x), wanted)


class Undeclared(nn.Module):
    """Has no buffer before its first call, which registers one, or holds it as a plain attribute."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self.one, self.two, self.plain = nn.Linear(4, 6), nn.Linear(6, 3), plain

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x).relu()
        if not hasattr(self, "table"):
            table = torch.arange(5.0, dtype=h.dtype)[:, None]
            if self.plain:
                self.table = table
            else:
                self.register_buffer("table", table, persistent=False)
        return self.two(h * self.table)


@pytest.mark.parametrize("plain", [True, False])
def test_what_the_first_call_makes_need_not_be_declared(plain: bool) -> None:
    net, x = Undeclared(plain=plain).double().eval(), numbers(3, 5, 4).double()
    graph = Graph.of(net, x)
    assert graph.widths == {"one": 6} and not hasattr(net, "table")
    torch.testing.assert_close(graph.traced(x), net(x))


class MaskedWords(nn.Module):
    """Words that see those before them, as many as two examples have heads."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.block = nn.TransformerEncoderLayer(6, 2, 10, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, words: Tensor) -> Tensor:
        length = int(words.size(1))
        assert length < 100, "too many words"
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        return self.out(self.block(self.table(words), src_mask=later))


@pytest.mark.slow
def test_a_mask_may_be_as_long_as_the_example_has_heads_in_all() -> None:
    words = torch.randint(0, 7, (2, 4), generator=torch.Generator().manual_seed(0))
    graph = Graph.of(MaskedWords().eval(), words)
    assert is_exported(graph.traced) and graph.widths["block.linear1"] == 10


class TiedTwice(nn.Module):
    """One layer under two names, and code that only an export can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.out = nn.Linear(4, 6), nn.Linear(6, 2)
        self.heads = nn.ModuleList([self.out, self.out])

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 4:
            raise ValueError("four numbers")
        y = torch.relu(self.one(x))
        return self.heads[0](y) + self.heads[1](-y)


def test_layers_under_two_names_are_exported() -> None:
    graph = Graph.of(TiedTwice(), torch.randn(3, 4))
    assert is_exported(graph.traced) and graph.widths == {"one": 6}


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python")
def test_dynamo_still_compiles_after_an_export() -> None:
    traced = trace(Net(lambda self, x: x.view(len(x), -1)), X)
    torch._dynamo.reset()
    compiled = torch.compile(traced, backend="eager")
    torch.testing.assert_close(compiled(X), traced(X))


class Squeezed(nn.Module):
    """Drops all dimensions of 1, and puts that of a batch of one back, in one of several ways."""

    def __init__(self, back: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.back = nn.Linear(4, 6), nn.Linear(6, 2), back

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x)).unsqueeze(1)
        found: Tensor = self.b(self.back(h))
        return found


def put_back(h: Tensor) -> Tensor:
    h = h.squeeze()
    return h.unsqueeze(0) if len(h.shape) == 1 else h


@pytest.mark.slow
@pytest.mark.parametrize(
    "back", [put_back, lambda h: h.squeeze(1) if len(h) == 1 else torch.squeeze(h)]
)
def test_a_batch_of_one_may_lose_its_dimension_and_get_it_back(back: Any) -> None:
    net = Squeezed(back).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    graph = Graph.of(copy.deepcopy(net), x)
    assert graph.widths == {"a": 6}
    for size in (1, 3):
        assert same_outputs(evaluated(net, x[:size]), evaluated(graph.traced, x[:size]))


@pytest.mark.slow
@pytest.mark.parametrize("gradients", [True, False])
def test_a_part_where_autocast_is_off_is_followed_where_code_asks_for_shapes(
    gradients: bool,
) -> None:
    class Off(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            *_, width = x.shape
            with torch.autocast("cpu", enabled=False):
                h = torch.relu(self.a(x)) / width
            found: Tensor = self.b(h)
            return found

    net, x = Off(), torch.randn(5, 4)
    graph = Graph.of(copy.deepcopy(net), x)
    assert is_exported(graph.traced)
    assert graph.widths == {"a": 6}
    assert same_outputs(evaluated(net, x), evaluated(graph.traced, x))
