"""Data of several inputs by name: their order in a mapping means nothing, wherever data are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, StackDataset

import netdial as nd
from netdial.core.errors import DataError
from netdial.core.inputs import packing_of
from netdial.curvature import diagonal
from netdial.structure.spaces import ready_space

LEFT, RIGHT = torch.randn(2, 60, 3, generator=torch.Generator().manual_seed(0))
Y = (LEFT[:, 0] > RIGHT[:, 1]).long()
FORTH, BACK = {"left": LEFT, "right": RIGHT}, {"right": RIGHT, "left": LEFT}


class Difference(nn.Module):
    """Tells its two inputs, of one shape, apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        found: Tensor = self.c(torch.relu(self.a(left) - 2 * self.b(right)))
        return found


@pytest.fixture(scope="module")
def family() -> nd.Family:
    torch.manual_seed(0)
    return nd.fit(Difference(), (BACK, Y), epochs=2, batch_size=16, objective="ard")


def rows(x: dict[str, Tensor]) -> Any:
    """Returns a torch data set of the rows."""
    kind: Any = StackDataset
    return kind(kind(**x), Y)


FORMS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "pair": lambda x: (x, Y),
    "named": lambda x: nd.Named({**x, "t": Y}, inputs=list(x), targets="t"),
    "loader": lambda x: DataLoader(rows(x), batch_size=7),
    "rows": lambda x: rows(x),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", [FORTH, BACK], ids=["forth", "back"])
def test_names_decide_and_not_their_order(
    family: nd.Family, form: str, order: dict[str, Tensor]
) -> None:
    data, member = FORMS[form](order), family.export(1.0)
    path = nd.evaluate(family, data, lams=[1.0], n_samples=0)
    want = cross_entropy(member(left=LEFT, right=RIGHT), Y).item()
    assert path.column("nll") == [pytest.approx(want, rel=1e-5)]
    drawn = nd.predictive(family, 1.0, data, n_samples=2)
    assert torch.equal(drawn, nd.predictive(family, 1.0, (BACK, Y), n_samples=2))
    for name, found in diagonal(member, data).items():
        torch.testing.assert_close(found, diagonal(member, (BACK, Y))[name])
    again = nd.finetune(family, 1.0, data, epochs=1).export(1.0)
    same = nd.finetune(family, 1.0, FORMS[form](BACK), epochs=1).export(1.0)
    torch.testing.assert_close(again(LEFT, RIGHT), same(LEFT, RIGHT))


def test_training_validates_on_the_same_inputs() -> None:
    seen: list[list[float]] = []
    for x in (FORTH, BACK):
        torch.manual_seed(0)
        epochs: list[Any] = []
        nd.fit(
            Difference(), (BACK, Y), (x, Y), epochs=2, batch_size=16, report=epochs.append, patience=1
        )  # fmt: skip
        seen.append([epoch.valid for epoch in epochs])
    assert seen[0] == seen[1]


def test_batches_of_one_loader_may_differ_in_order() -> None:
    def batch(which: list[int]) -> Any:
        x = FORTH if which[0] % 2 else BACK
        return {name: part[which] for name, part in x.items()}, Y[which]

    every: Any = range(60)
    mixed: Any = DataLoader(every, batch_size=15, collate_fn=batch)
    plain = DataLoader(rows(FORTH), batch_size=15)
    made = []
    for loader in (mixed, plain):
        torch.manual_seed(0)
        made.append(nd.fit(Difference(), loader, epochs=2).export(1.0)(LEFT, RIGHT))
    assert torch.equal(*made)


def test_a_graph_takes_inputs_by_position_as_its_class_does(family: nd.Family) -> None:
    slimmed = nd.slim(family, 1.0, share=0.5, example=FORTH, exact=False)
    member = slimmed.family.export(slimmed.family.config.lams[0])
    want = member(LEFT, RIGHT)
    for found in (slimmed.net(LEFT, RIGHT), slimmed.net(right=RIGHT, left=LEFT)):
        torch.testing.assert_close(found, want)
    assert packing_of(family.net).names == ("left", "right")  # type: ignore[union-attr]
    by_position = nd.evaluate(family, ((LEFT, RIGHT), Y), lams=2, n_samples=0)
    by_name = nd.evaluate(family, (BACK, Y), lams=2, n_samples=0)
    assert by_position.column("nll") == by_name.column("nll")


@pytest.mark.parametrize(
    "x",
    [
        {"left": LEFT, "other": RIGHT},
        {"left": LEFT[:, :2], "right": torch.cat([RIGHT, LEFT[:, :1]], 1)},
        {**FORTH, "more": LEFT},
    ],
    ids=["another name", "another shape", "one more"],
)
def test_other_inputs_are_refused_by_name(family: nd.Family, x: dict[str, Tensor]) -> None:
    for call in (nd.evaluate, lambda f, d: nd.predictive(f, 1.0, d)):
        with pytest.raises(DataError, match=r"the network takes left \[3\], right \[3\]"):
            call(family, (x, Y))


def test_several_inputs_for_a_network_of_one_are_refused() -> None:
    x = torch.cat([LEFT, RIGHT], 1)
    space = ready_space("mlp", input_shape=(6,), n_outputs=2, depth=1, width=4)
    plain = nd.fit(nn.Linear(6, 2), (x, Y), epochs=1)
    said = r"several inputs, left \[3\], right \[3\]; network \w+ takes one tensor"
    with pytest.raises(DataError, match=said):
        nd.search(space, (FORTH, Y), (BACK, Y), strategy="random", epochs=1, compare=False)
    with pytest.raises(DataError, match=said):
        nd.evaluate(plain, (FORTH, Y), lams=2)
    assert len(nd.evaluate(plain, (x, Y), lams=2).members) == 2


class Divided(nn.Module):
    """Takes settings beside its input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, heat: Any = 1.0, mask: Tensor | None = None) -> Tensor:
        found: Tensor = self.b(torch.relu(self.a(x))) / heat
        return found if mask is None else found * mask


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"x": LEFT, "heat": 2.0}, "input heat is the single number 2, and inputs have a row"),
        ({"x": LEFT, "heat": torch.tensor(2.0)}, "input heat is the single number 2"),
        ((LEFT, 2.0), "input 1 is the single number 2"),
        ((LEFT, True), "input 1 is the single number 1"),
        ({"x": LEFT, "mask": None}, "input mask: is None; leave out"),
        ((LEFT, None), "input 1: is None; leave out"),
        ({"x": LEFT, "mask": "none"}, "input mask: texts where numbers are needed"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda x: nd.fit(Divided(), (x, Y), epochs=1),
        lambda x: nd.shrink(Divided(), (x, Y), size="40 params", epochs=1),
        lambda x: nd.slim(Divided(), share=0.5, example=x),
    ],
    ids=["fit", "shrink", "slim"],
)
def test_settings_beside_the_inputs_are_refused_by_name(
    use: Callable[[Any], Any], given: Any, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        use(given)


def test_examples_may_be_arrays_and_lists(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, other = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), Divided()
    due = nd.slim(net, share=0.5, example=LEFT)
    for example in (LEFT.numpy(), LEFT.tolist()):
        got = nd.slim(net, share=0.5, example=example)
        assert got.widths == due.widths
        assert torch.equal(got.net(LEFT), due.net(LEFT))
    heat = torch.ones(60, 1)
    due = nd.slim(other, share=0.5, example={"x": LEFT, "heat": heat})
    got = nd.slim(other, share=0.5, example={"x": LEFT.numpy(), "heat": heat.numpy()})
    assert torch.equal(got.net(x=LEFT, heat=heat), due.net(x=LEFT, heat=heat))
    nd.save(net, tmp_path / "net.pt2", example=LEFT.numpy())
    assert torch.equal(torch.export.load(tmp_path / "net.pt2").module()(LEFT), net(LEFT))
