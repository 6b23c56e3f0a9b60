"""Formulas: what is printed is what is computed, planted formulas are found, orders of rows as well as values."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError
from netdial.structure.derived import derive
from netdial.structure.formulas import FUNCTIONS, fit_formula, formula_of, formula_space
from netdial.structure.graph.space import SearchSpace

CALCULATOR: dict[str, Any] = {
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
    "sin": math.sin,
    "tanh": math.tanh,
    "abs": abs,
    "min": min,
}


def calculated(text: str, row: Tensor) -> float:
    """What a calculator says of a printed formula."""
    names = {f"x{i}": value for i, value in enumerate(row.tolist())}
    return float(eval(text.replace("^", "**"), {"__builtins__": {}}, {**CALCULATOR, **names}))


@pytest.mark.parametrize("draw", range(6))
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_printed_formula_is_what_the_network_computes(depth: int, draw: int) -> None:
    space = formula_space((3,), 1, depth=depth, functions=list(FUNCTIONS))
    source = torch.Generator().manual_seed(draw)
    net = derive(space, space.sample(source), seed=draw).double()
    x = torch.randn(4, 3, generator=source, dtype=torch.float64)
    text = formula_of(net, digits=17)
    for row, value in zip(x, net(x)[:, 0].tolist(), strict=True):
        assert calculated(text, row) == pytest.approx(value, rel=1e-9)


def test_vertices_are_numbered_and_functions_stand_on_edges() -> None:
    space = formula_space((2,), 1, depth=1, functions=["sin", "square"])
    assert set(space.choices) == {"x->2", "x->3", "2->1/pair", "3->1/pair", "1/pair->1"}
    assert space.count == 2 * 2 * 2 * 3 * 2
    chosen = {
        "x->2": "x1",
        "x->3": "x0",
        "2->1/pair": "sin",
        "3->1/pair": "square",
        "1/pair->1": "*",
    }
    net = derive(space, chosen)
    for parameter in net.parameters():
        parameter.data.fill_(2.0)
    assert formula_of(net, ["age", "dose"]) == ("2 * ((sin(2 * dose + 2)) * ((2 * age + 2)^2)) + 2")


def planted(rows: int = 80) -> tuple[Tensor, Tensor]:
    x = torch.rand(rows, 2, generator=torch.Generator().manual_seed(0)).double() * 4
    return x, 3 * torch.sin(1.3 * x[:, 0]) * x[:, 1] + 0.5


@pytest.mark.slow
def test_a_planted_formula_is_found_among_all_structures() -> None:
    x, y = planted()
    found = fit_formula(x, y, functions=("id", "sin"), trials=200, restarts=1, seed=2)
    assert found.tried == 20 + 4 + 1, "sums and products in another order are the same structure"
    assert found.loss < 1e-6
    assert "sin(" in found.text and "x1" in found.text and "*" in found.text
    new = torch.tensor([[0.7, 1.9]], dtype=torch.float64)
    true = 3 * math.sin(1.3 * 0.7) * 1.9 + 0.5
    assert calculated(found.text, new[0]) == pytest.approx(true, rel=0.01)


def test_variations_of_the_best_are_tried_where_there_are_many() -> None:
    x, y = planted(30)
    found = fit_formula(x, y, functions=("id", "sin", "square"), trials=8, restarts=1, seed=1)
    assert found.tried == 8
    assert found.loss < float(y.var())
    again = fit_formula(x, y, functions=("id", "sin", "square"), trials=8, restarts=1, seed=1)
    assert (again.text, again.genotype) == (found.text, found.genotype)


def test_rows_are_ordered_as_targets_are() -> None:
    """Any increasing function of x0 + 2 x1: for order it is as good as the sum."""
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(2)).double()
    y = torch.exp(3 * (x[:, 0] + 2 * x[:, 1]))
    found = fit_formula(x, y, goal="ranks", functions=("id",), trials=20)
    scores = found.net(x)[:, 0]
    above = (y[:, None] > y[None]) & (scores[:, None] <= scores[None])
    assert float(above.double().sum()) / (60 * 59 / 2) < 0.02
    assert found.loss < 0.2


def test_bad_input_is_refused() -> None:
    x, y = planted(10)
    with pytest.raises(ConfigError, match="depth=0"):
        formula_space((2,), 1, depth=0)
    with pytest.raises(ConfigError, match=r"'cos'.*sin"):
        formula_space((2,), 1, functions=["cos"])
    with pytest.raises(ConfigError, match="empty"):
        formula_space((2,), 1, functions=[])
    with pytest.raises(DataError, match=r"\[10, 2\].*\[9\]"):
        fit_formula(x, y[:9])
    with pytest.raises(DataError, match="NaN"):
        fit_formula(x, y.log() * math.nan)
    with pytest.raises(DataError, match="3 names for 2"):
        fit_formula(x, y, names=["a", "b", "c"])
    with pytest.raises(DataError, match="equal"):
        fit_formula(x, torch.ones(10), goal="ranks")
    with pytest.raises(ConfigError, match="goal='order'"):
        fit_formula(x, y, goal="order")  # type: ignore[arg-type]
    other = SearchSpace("other")
    other.input("x", (2,))
    other.node("y")
    other.edge("x", "y", {"one": torch.nn.Identity, "two": torch.nn.Tanh})
    other.output("y")
    with pytest.raises(ConfigError, match="'other'"):
        formula_of(derive(other, {"x->y": "one"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of_x", "of_y"),
    [
        (1.0, 1e3),
        (1e-3, 1e6),
        *(pytest.param(*u, marks=pytest.mark.slow) for u in ((1.0, 1e-3), (1e3, 1.0))),
    ],
)
def test_a_formula_does_not_depend_on_units(of_x: float, of_y: float) -> None:
    """Targets in thousands, or inputs, were fitted a thousand times worse."""
    x = torch.rand(60, 2, generator=torch.Generator().manual_seed(0)) * 3
    y = 2 * torch.sin(x[:, 0]) + x[:, 1]
    plain = fit_formula(x, y, functions=["id", "sin"], trials=12)
    found = fit_formula(x * of_x, y * of_y, functions=["id", "sin"], trials=12)
    assert found.genotype == plain.genotype
    assert found.loss == pytest.approx(plain.loss * of_y**2, rel=0.05)
    predicted = found.net((x * of_x).double())[:, 0].detach()
    assert float((predicted - y * of_y).square().mean()) == pytest.approx(found.loss, rel=1e-3)


@pytest.mark.parametrize(
    "shift", [2000.0, *(pytest.param(s, marks=pytest.mark.slow) for s in (30.0, -1e5))]
)
def test_a_formula_does_not_depend_on_where_inputs_lie(shift: float) -> None:
    """Of years, the loss was that of a constant, and four digits of a constant made another function of the text."""
    x = torch.rand(80, 2, generator=torch.Generator().manual_seed(0)).double() * 3
    y = 2 * torch.sin(2 * x[:, 0]) + x[:, 1]
    found = fit_formula(x + shift, y, functions=["id", "sin"], trials=12)
    assert found.loss < 1e-3 * float(y.var())
    predicted = found.net(x + shift)[:, 0].detach()
    assert float((predicted - y).square().mean()) == pytest.approx(found.loss, rel=0.01, abs=1e-12)
    for row, value in zip(x + shift, predicted.tolist(), strict=True):
        places = {"x0": float(row[0]), "x1": float(row[1]), "sin": math.sin}
        assert eval(found.text, {"__builtins__": {}}, places) == pytest.approx(value, abs=0.02)


def test_arrays_and_frames_are_taken_with_their_names() -> None:
    pandas = pytest.importorskip("pandas")
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(0)).double()
    frame = pandas.DataFrame(x.numpy(), columns=["angle", "weight"])
    given: dict[str, Any] = {"functions": ["id"], "trials": 4}
    plain = fit_formula(x, x[:, 0], **given)
    found = fit_formula(frame, frame["angle"], **given)
    assert found.loss == pytest.approx(plain.loss, abs=1e-12)
    assert found.text == plain.text.replace("x0", "angle").replace("x1", "weight")
    assert fit_formula(x.numpy(), x[:, 0].numpy(), **given).text == plain.text
