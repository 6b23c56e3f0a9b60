"""Constants: what is said to be the same for every input is, in the modes that were promised, at every node."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.channels.constants import known
from netdial.channels.graph import Graph
from netdial.channels.trace.running import execute
from netdial.channels.trace.trace import trace

from .. import networks
from ..networks import Call

V = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def outcome(net: nn.Module, x: Tensor, *, continues: bool = False) -> Tensor:
    """Returns what is known of a network's output."""
    traced = trace(net)
    found: Tensor = known(traced, x, continues=continues)[list(traced.graph.nodes)[-2]]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("which", range(30))
def test_what_is_known_is_the_same_for_every_input(which: int) -> None:
    net, x = networks.network(which)
    graph = Graph.of(net, x)
    networks.deaden(graph, which)
    found = known(graph.traced, x, continues=which % 2 == 0)
    source = torch.Generator().manual_seed(which)
    for _ in range(2):
        if x.is_floating_point():
            other = 2 * torch.randn(x.shape, dtype=x.dtype, generator=source)
        else:
            other = torch.randint(0, 9, x.shape, generator=source)
        for node, real in execute(graph.traced, other).items():
            if isinstance(real, Tensor) and real.is_floating_point():
                said = found[node]
                sure = ~said.isnan()
                torch.testing.assert_close(said[sure], real[sure], rtol=1e-9, atol=1e-9)


def linear(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


ROWS = linear([[0.0] * 4, [1.0] * 4, [0.0] * 4], [0.5, 1.0, -2.0])


@pytest.mark.parametrize(
    ("last", "values"),
    [
        (nn.Identity(), [0.5, None, -2.0]),
        (nn.ReLU(), [0.5, None, 0.0]),
        (nn.Hardtanh(), [0.5, None, -1.0]),
        (linear([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [0.0, 0.0]), [-1.5, None]),
        (Call(lambda s, x: x * torch.tensor([2.0, 0.0, 1.0])), [1.0, 0.0, -2.0]),
        (Call(lambda s, x: (x > 0).double() * x), [None] * 3),
        (Call(lambda s, x: torch.where(x > 0, x, torch.zeros_like(x))), [None] * 3),
        (Call(lambda s, x: x.argmax(1).double()[:, None]), [None]),
        (Call(lambda s, x: x.amax(1, keepdim=True)), [None]),
        (Call(lambda s, x: x.nan_to_num()), [0.5, None, -2.0]),
        (Call(lambda s, x: F.relu_(x)), [0.5, None, 0.0]),
        (Call(lambda s, x: x @ s.w, w=torch.eye(3).double()), [0.5, None, -2.0]),
        (Call(lambda s, x: torch.einsum("bi,oi->bo", x, s.w), w=torch.eye(3).double()), [0.5, None, -2.0]),
    ],
)  # fmt: skip
def test_what_operations_make_of_known_and_unknown_numbers(
    last: nn.Module, values: list[float | None]
) -> None:
    found = outcome(nn.Sequential(ROWS, last), V)[0]
    expected = torch.tensor([torch.nan if v is None else v for v in values], dtype=torch.float64)
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_numbers_at_a_padded_border_are_known_apart() -> None:
    conv = nn.Conv1d(1, 1, 3, padding=1).double()
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.fill_(0.0)
    dead = Call(lambda s, x: x * 0 + 1)
    found = outcome(nn.Sequential(dead, conv, nn.AvgPool1d(3, 1, 1)), V[:, None])
    assert torch.allclose(found[0, 0], torch.tensor([5.0, 8, 8, 5]).double() / 3)


def batch_norm(scale: float, bias: float, mean: float) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(3).double()
    with torch.no_grad():
        norm.weight.fill_(scale)
        norm.bias.fill_(bias)
        norm.running_mean.fill_(mean)  # type: ignore[union-attr]
    return norm.eval()


NORMS: list[tuple[nn.Module, bool, list[bool]]] = [
    (batch_norm(0, 2, 1), True, [True] * 3),  # a scale of 0 makes any channel its bias
    (
        batch_norm(1, 2, 1),
        True,
        [False] * 3,
    ),  # in training a constant becomes the bias, in evaluation it does not
    (batch_norm(1, 2, 1), False, [True, False, True]),
    (
        batch_norm(1, 2, 0.5),
        True,
        [True, False, False],
    ),  # its mean is the constant: both modes agree
    (nn.Dropout(0.5), True, [False] * 3),
    (nn.Dropout(0.5), False, [True, False, True]),
    (nn.Dropout(0.0), True, [True, False, True]),
    (nn.Sequential(nn.ReLU(), nn.Dropout(0.5)), True, [False, False, True]),
    (nn.Sequential(nn.ReLU(), nn.AlphaDropout(0.5)), True, [False] * 3),
]


@pytest.mark.parametrize(("last", "continues", "sure"), NORMS)
def test_a_constant_has_to_hold_in_training_where_training_goes_on(
    last: nn.Module, continues: bool, sure: list[bool]
) -> None:
    found = outcome(nn.Sequential(ROWS, last), V, continues=continues)[0]
    assert (~found.isnan()).tolist() == sure


def test_units_of_a_recurrence_without_weights_are_0() -> None:
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        layer = kind(4, 3, batch_first=True, bidirectional=True).double()
        with torch.no_grad():
            for name, leaf in layer.named_parameters():
                if name.endswith("_reverse"):
                    leaf.unflatten(0, (-1, 3))[:, 1] = 0
        found = outcome(Call(lambda s, x: s.rnn(x[:, None])[0], rnn=layer), V)[0, 0]
        assert (found == 0).tolist() == [False] * 4 + [True, False]
        assert found.isnan().sum() == 5


def test_a_column_of_an_embedding_that_is_the_same_for_all_words() -> None:
    embedding = nn.Embedding(5, 2)
    with torch.no_grad():
        embedding.weight[:, 1] = 3
    found = outcome(nn.Sequential(embedding), torch.tensor([[0, 1]]))
    assert found[0, 0, 0].isnan()
    assert found[0, 1, 1] == 3


def test_the_network_and_its_input_are_left_alone() -> None:
    make: Callable[[], nn.Module] = lambda: nn.Sequential(  # noqa: E731
        nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2)
    )
    net, x = make().double().train(), V.clone()
    before = {name: leaf.clone() for name, leaf in net.state_dict().items()}
    outcome(net, x, continues=True)
    assert torch.equal(x, V)
    assert all(torch.equal(leaf, before[name]) for name, leaf in net.state_dict().items())
    assert all(module.training for module in net.modules())


def placed(function: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """Channels 1.5, unknown and 0, something at places that depend on the input, and a sum of nothing."""
    rows = linear([[0.0] * 4, [1.0] * 4, [0.0] * 4], [1.5, 1.0, 0.0])
    return nn.Sequential(Call(lambda s, x: function(s.rows(x), (x[:, 0] > 0).long()), rows=rows))


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (lambda y, at: y[at], [1.5, None, 0.0]),
        (lambda y, at: y.index_select(0, at), [1.5, None, 0.0]),
        (lambda y, at: y.gather(0, at[:, None].expand_as(y)), [1.5, None, 0.0]),
        (lambda y, at: torch.zeros_like(y).index_add(0, at, y), [None, None, 0.0]),
        (
            lambda y, at: torch.zeros_like(y).scatter_add(0, at[:, None].expand_as(y), y),
            [None, None, 0.0],
        ),
        (lambda y, at: torch.ones_like(y).index_copy(0, at, y), [None, None, None]),
    ],
)
def test_what_is_put_at_unknown_places_is_known_where_all_is_0(
    function: Callable[[Tensor, Tensor], Tensor], values: list[float | None]
) -> None:
    found = outcome(placed(function), V)
    for channel, value in enumerate(values):
        wanted = torch.full((3,), float("nan") if value is None else value, dtype=torch.float64)
        torch.testing.assert_close(found[:, channel], wanted, equal_nan=True)


@pytest.mark.parametrize("mask", ["tril", "data", "shared"])
def test_values_that_are_0_give_0_under_any_mask(mask: str) -> None:
    class Attending(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            q = x.unflatten(-1, (4, 2)).transpose(1, 2)
            v = self.values(x).unflatten(-1, (-1, 2)).transpose(1, 2)
            n = x.shape[1]
            seen = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
            if mask != "tril":
                seen = (x[:, :, 0] > 0)[:, None, None, :]
            return F.scaled_dot_product_attention(
                q, q[:, : v.shape[1]], v, attn_mask=seen, enable_gqa=mask == "shared"
            )

        def __init__(self) -> None:
            super().__init__()
            self.values = nn.Linear(8, 4 if mask == "shared" else 8)

    net = Attending()
    with torch.no_grad():
        net.values.weight[2:4], net.values.bias[2:4] = 0, 0
        net.values.weight[0], net.values.bias[0] = 0, 1
    traced = trace(net.eval(), x := torch.randn(3, 5, 8))
    out = known(traced, x, continues=True)[next(iter(reversed(traced.graph.nodes))).args[0]]
    off = [2, 3] if mask == "shared" else [1]
    assert (out[:, off] == 0).all()
    assert out[:, [head for head in range(4) if head not in off]].isnan().all()
