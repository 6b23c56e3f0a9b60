"""One input that is given by name goes to the argument of that name, wherever that stands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd


class Masked(nn.Module):
    """A network whose first argument is not the one that data are given for."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)

    def forward(self, mask: Tensor | None = None, x: Tensor | None = None) -> Tensor:
        if x is None:
            assert mask is not None
            return self.last(torch.zeros_like(mask))
        return self.last(x)


def _data(form: str) -> Any:
    torch.manual_seed(0)
    x, y = torch.randn(64, 4), torch.randint(2, (64,))
    if form == "loader":
        rows = [{"x": one, "y": label} for one, label in zip(x, y, strict=True)]
        return x, y, torch.utils.data.DataLoader(rows, batch_size=16)
    forms: dict[str, Any] = {
        "mapping in place of x": ({"x": x}, y),
        "mapping": {"x": x, "y": y},
        "named": nd.Named({"x": x, "digit": y}, inputs=["x"], targets="digit"),
        "one named": nd.Named({"x": x, "digit": y}, inputs="x", targets="digit"),
    }
    return x, y, forms[form]


@pytest.mark.parametrize(
    "form", ["mapping in place of x", "mapping", "named", "one named", "loader"]
)
def test_one_input_by_name_goes_to_the_argument_of_that_name(form: str) -> None:
    x, y, data = _data(form)
    family = nd.fit(Masked(), data, lam=(0.01, 1), epochs=2, batch_size=16)
    member = family.export(0.1)
    expected = nn.functional.cross_entropy(member(x=x), y).item()
    for given in (data, (x, y)):
        row = nd.evaluate(family, given, lams=[0.1]).table()[0]
        assert row["nll"] == pytest.approx(expected, rel=1e-4)


def test_a_name_that_no_argument_has_goes_by_position() -> None:
    x, y = torch.randn(32, 4), torch.randint(2, (32,))
    family = nd.fit(nn.Linear(4, 2), ({"pixels": x}, y), lam=(0.01, 1), epochs=1)
    one, other = (
        nd.evaluate(family, data, lams=[0.1]).table() for data in (({"pixels": x}, y), (x, y))
    )
    assert one == other
