"""Code that goes by the numbers of its inputs: followed as the example goes, checked ever after, and told if it is one way."""

from __future__ import annotations

import copy
import warnings
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
from netdial.channels.trace.answers.ways import goes_one_way
from netdial.core.errors import TraceError, TraceWarning

from ..networks import mask

END = 2
X = torch.tensor([[3, 4, END, 5, 6], [7, END, 8, 9, 3]])
ONE_WAY = r"goes one way or another by its numbers \(test_ways.py:{line}\)"


class Net(nn.Module):
    """Words, a layer, and a function that says what becomes of them by what they are; its sizes stop torch.fx."""

    def __init__(self, ends: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.one, self.extra = nn.Embedding(10, 6), nn.Linear(6, 8), nn.Linear(8, 8)
        self.drop, self.two, self.ends = nn.Dropout(0.3), nn.Linear(8, 3), ends

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] < 2:
            raise ValueError("two words or more")
        y = self.drop(torch.relu(self.one(self.words(x))))
        return self.two(self.ends(self, x, y))


def last_ends(self: Net, x: Tensor, y: Tensor) -> Tensor:
    ends = x.eq(END)
    alike = torch.unique_consecutive(ends.sum(1)).numel() == 1
    torch._check(alike, lambda: "as many ends in each row")
    return y[ends, :].view(y.size(0), -1, y.size(-1))[:, -1]


def kinds_of_words(self: Net, x: Tensor, y: Tensor) -> Tensor:
    kinds, places = torch.unique(x, return_inverse=True)
    torch._check(kinds.numel() >= 3)
    return y.mean(1) + places.to(y.dtype).mean(1, keepdim=True)


def some_places(self: Net, x: Tensor, y: Tensor) -> Tensor:
    places = (x > END).nonzero()
    if places.size(0) > 0:
        return y.mean(1) + y[places[:, 0], places[:, 1]].mean(0)
    return self.extra(y).mean(1)


def any_of_them(self: Net, x: Tensor, y: Tensor) -> Tensor:
    if x.eq(END).any().item():
        return self.extra(y).mean(1)
    return y.mean(1)


def as_many_steps(self: Net, x: Tensor, y: Tensor) -> Tensor:
    for _ in range(int(x.max()) - 7):
        y = torch.tanh(self.extra(y))
    return y.mean(1)


OWN_CHECKS = {last_ends: [[3, 4, 5, 5, 6], [7, END, END, 9, 3]], kinds_of_words: [[3] * 5, [3] * 5]}
WAYS = {
    some_places: [[1] * 5, [1] * 5],
    any_of_them: [[1] * 5, [1] * 5],
    as_many_steps: [[1] * 5, [7] * 5],
}
"""What the code does, and inputs that go another way or fail."""


def cut(graph: Graph, net: nn.Module) -> fx.GraphModule:
    """Returns the graph without half of the channels of each group, which gives what it gives with zeros there."""
    traced = copy.deepcopy(graph.traced)
    plan = graph.plan({group.name: range(0, group.size - 1, 2) for group in graph.groups})
    mask(traced, plan)
    apply(plan, graph.traced)
    assert sum(p.numel() for p in graph.traced.parameters()) < sum(
        p.numel() for p in net.parameters()
    )
    for x in (X, X[:1], torch.cat([X, X.flip(0)])):
        torch.testing.assert_close(graph.traced.eval()(x), traced.eval()(x))
    return graph.traced


@pytest.mark.slow
@pytest.mark.parametrize(
    "ends",
    [one if one is last_ends else pytest.param(one, marks=pytest.mark.slow) for one in OWN_CHECKS],
)
def test_sizes_that_numbers_make_are_followed_and_the_codes_own_checks_stay(
    ends: Callable[..., Tensor], tmp_path: Path
) -> None:
    """Sentences were read off at their ends (BART for sentences): the code could not be followed."""
    net = Net(ends).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", TraceWarning)
        graph = Graph.of(copy.deepcopy(net), X)
    assert not goes_one_way(graph.traced)
    assert graph.widths == {"words": 6, "one": 8}
    torch.testing.assert_close(graph.traced.eval()(X), net(X))
    with pytest.raises(
        ValueError,
        match=r"^inputs: the code goes by numbers at test_ways.py:\d+, and this graph holds where",
    ):
        cut(graph, net)(torch.tensor(OWN_CHECKS[ends]))
    small = nd.slim(net, share=0.3, example=X)
    assert type(small.family.net) is Net
    nd.save(small, tmp_path / "small.ndz")
    again = nd.load_model(tmp_path / "small.ndz", net=Net(ends))
    assert type(again) is Net
    torch.testing.assert_close(again(X), small.net(X))


class Letters(nn.Module):
    """Words whose letters are told by a loss of connectionist temporal classification, as networks of speech have it."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.one, self.two = nn.Embedding(10, 6), nn.Linear(6, 8), nn.Linear(8, 4)
        self.reduction = reduction

    def forward(self, x: Tensor) -> Tensor:
        letters = x[:, :2] % 4
        if x.shape[1] < 2:
            raise ValueError("two letters or more")
        likely = self.two(torch.relu(self.one(self.words(x)))).log_softmax(-1).transpose(0, 1)
        known = letters != 0
        steps = torch.div(torch.ones_like(x).sum(-1) * 2, 2, rounding_mode="floor").to(torch.long)
        return F.ctc_loss(
            likely, letters.masked_select(known), steps, known.sum(-1), reduction=self.reduction
        )


@pytest.mark.parametrize("reduction", ["mean", pytest.param("none", marks=pytest.mark.slow)])
def test_a_loss_over_letters_is_followed(reduction: str) -> None:
    """The labels of HuBERT and others for speech: the loss has no form in an exported graph."""
    net = Letters(reduction).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", TraceWarning)
        graph = Graph.of(copy.deepcopy(net), X)
    assert graph.widths == {"words": 6, "one": 8}
    assert "counts these channels as classes" in graph.kept["two.weight"]
    torch.testing.assert_close(graph.traced.eval()(X), net(X))
    torch.testing.assert_close(graph.traced(X[:1]), net(X[:1]))
    cut(graph, net)


@pytest.mark.slow
@pytest.mark.parametrize(
    "ends",
    [one if one is some_places else pytest.param(one, marks=pytest.mark.slow) for one in WAYS],
)
def test_one_way_of_several_is_told_and_other_inputs_are_refused(
    ends: Callable[..., Tensor], tmp_path: Path
) -> None:
    """Whether there are labels was asked (DeBERTa for sentences): the code could not be followed."""
    net = Net(ends).eval()
    line = ends.__code__.co_firstlineno + (2 if ends is some_places else 1)
    with pytest.warns(TraceWarning, match=ONE_WAY.format(line=line)) as told:
        graph = Graph.of(copy.deepcopy(net), X)
    assert len(told) == 1
    torch.testing.assert_close(graph.traced.eval()(X), net(X))
    other = torch.tensor(WAYS[ends])
    assert net(other).isfinite().all()
    with pytest.raises(ValueError, match=r"^inputs: the code goes by numbers at test_ways.py:\d+"):
        cut(graph, net)(other)
    with pytest.warns(TraceWarning, match=ONE_WAY.format(line=line)):
        small = nd.slim(net, share=0.3, example=X)
    assert isinstance(
        small.family.net, fx.GraphModule
    )  # layers of the other way were not cut for it
    nd.save(small, tmp_path / "small.ndz")
    with pytest.warns(UserWarning, match="its code goes by numbers, one way or another"):
        again = nd.load_model(tmp_path / "small.ndz", net=Net(ends))
    torch.testing.assert_close(again(X), small.net(X))
    for one in (small.net, again):
        with pytest.raises(ValueError, match=r"^inputs: the code goes by numbers"):
            one(other)


@pytest.mark.slow
def test_programs_check_their_inputs_and_graphs_that_cannot_are_refused(tmp_path: Path) -> None:
    with pytest.warns(TraceWarning, match="goes one way"):
        small = nd.slim(Net(some_places).eval(), share=0.3, example=X)
    nd.save(small, tmp_path / "small.pt2")
    program = torch.export.load(tmp_path / "small.pt2").module()
    torch.testing.assert_close(program(X), small.net(X))
    with pytest.raises(RuntimeError, match="assertion failed"):
        program(torch.tensor(WAYS[some_places]))
    pytest.importorskip("onnxscript")
    with pytest.raises(TraceError, match=r"goes one way of several by its numbers \(test_ways"):
        nd.save(small, tmp_path / "small.onnx")
    assert not (tmp_path / "small.onnx").exists()


def by_kind(self: Net, x: Tensor, y: Tensor) -> Tensor:
    """Sentences of each kind go through a layer, if there are any."""
    found = y.mean(1)
    for kind in range(2):
        which = x[:, 0] % 2 == kind
        if which.any().item():
            found = torch.where(which[:, None], self.extra(found) * kind, found)
    return found


@pytest.mark.slow
def test_batches_that_go_another_way_than_the_first_rows_are_named_with_what_mends_it() -> None:
    words = torch.randint(3, 10, (16, 5))
    words[:, 0], words[5, 0] = 4, 3  # the first rows are of one kind
    with (
        pytest.warns(TraceWarning),
        pytest.raises(TraceError, match=r"by numbers at test_ways.py:\d+; .*torch.where"),
    ):
        nd.shrink(Net(by_kind), (words, words[:, 0] % 3), size="100 params", epochs=1)


class Labelled(Net):
    """The same with labels beside the words: inputs that are taken apart."""

    def forward(self, words: Tensor, labels: Tensor) -> Any:
        made = super().forward(words)
        places = (labels >= 0).nonzero()
        loss = made.new_zeros(())
        if places.size(0) > 0:
            loss = nn.functional.cross_entropy(made[places[:, 0]], labels[places[:, 0]])
        return made, loss


@pytest.mark.slow
def test_labels_that_are_looked_for_are_found() -> None:
    net = Labelled(lambda self, x, y: y.mean(1)).eval()
    given = {"words": X, "labels": torch.tensor([2, 0])}
    with pytest.warns(TraceWarning, match="goes one way or another by its numbers"):
        small = nd.slim(net, share=0.3, example=given)
    assert small.widths["one"] < 8
    made, loss = small.family.net(X, torch.tensor([-1, 1]))
    torch.testing.assert_close(loss, nn.functional.cross_entropy(made[1:], torch.tensor([1])))
    with pytest.raises(ValueError, match="the code goes by numbers"):
        small.family.net(X, torch.tensor([-1, -1]))


@pytest.mark.slow
def test_following_code_by_its_numbers_leaves_the_network_as_it_was() -> None:
    """Layers run on numbers meanwhile: nothing learns, and no random number is drawn for good."""
    net = Net(any_of_them).train()
    net.register_module("one", nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(5)))
    before, was = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    with pytest.warns(TraceWarning, match="goes one way"):
        Graph.of(net, X)
    assert torch.equal(torch.get_rng_state(), was)
    assert net.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.slow
def test_channels_that_a_mask_picks_are_shrunk(tmp_path: Path) -> None:
    """What is known of numbers behind a switch at 0 was forgotten where a mask picks them, so nothing could go."""
    source = torch.Generator().manual_seed(0)
    words = torch.randint(3, 10, (64, 5), generator=source)
    words[torch.arange(64), torch.randint(0, 5, (64,), generator=source)] = END
    classes = torch.randint(0, 3, (64,), generator=source)
    shrunk = nd.shrink(Net(last_ends), (words, classes), size="130 params", epochs=2, batch_size=16)
    assert shrunk.widths["one"] < 8
    nd.save(shrunk, tmp_path / "small.ndz")
    again = nd.load_model(tmp_path / "small.ndz", net=Net(last_ends))
    assert type(again) is Net
    torch.testing.assert_close(again(words), shrunk.net.eval()(words))
