"""Control: targets as text, the schedules of λ, the course to a target, and how many channels may go on the way."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.core.size import Target, parse_target
from netdial.shrinking.control import LAM_SCHEDULES, allowance, check_target, course

costs_of = st.lists(st.floats(0, 50), max_size=12)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("20000 params", "params", 20_000),
        ("20_000 parameters", "params", 20_000),
        ("50k params", "params", 50_000),
        ("50 K Params", "params", 50_000),
        ("1.5M macs", "macs", 1.5e6),
        ("2 GMACs", "macs", 2e9),
        ("3mmacs", "macs", 3e6),
        ("7 macs", "macs", 7),
        ("80KB", "bytes", 80_000),
        ("80 KiB", "bytes", 81_920),
        ("1.5 mib", "bytes", 1.5 * 2**20),
        ("64k bytes", "bytes", 64_000),
        ("100 B", "bytes", 100),
        ("0.4ms", "ms", 0.4),
        (".4 ms", "ms", 0.4),
        ("400 us", "ms", 0.4),
        ("400 µs", "ms", 0.4),
        ("2 s", "ms", 2000),
        ("1e6 params", "params", 1e6),
        ("2e-3 s", "ms", 2),
    ],
)
def test_targets_are_read(text: str, kind: str, value: float) -> None:
    target = parse_target(text)
    assert target.kind == kind
    assert target.value == pytest.approx(value, rel=1e-12)


@given(
    kind=st.sampled_from(["params", "macs", "bytes", "ms"]),
    value=st.floats(1e-6, 1e12),
)
def test_a_target_is_written_as_it_is_read(kind: Any, value: float) -> None:
    again = parse_target(str(Target(kind, value)))
    assert again.kind == kind
    assert again.value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20000", r"target '20000': the unit is missing; write for example '50k params'"),
        ("many params", "target 'many params': expected a number and a unit"),
        ("-5 params", "expected a number and a unit"),
        ("", "expected a number and a unit"),
        ("1,5M macs", "unknown unit ',5m macs'"),
        ("20k parms", "unknown unit 'k parms'; did you mean 'params'"),
        ("5 kms", "unknown unit 'kms'"),
        ("5 kkb", "unknown unit 'kkb'"),
        ("5 ks", "unknown unit 'ks'"),
        ("0 params", r"Target\(0 params\): expected a size above 0"),
    ],
)
def test_what_is_no_target_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_target(text)


def test_targets_are_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'params'"):
        Target("param", 5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected a size above 0"):
        Target("ms", math.inf)


def test_schedules_of_lambda() -> None:
    shown = {
        name: [round(LAM_SCHEDULES[name](100)(step), 2) for step in (0, 4, 9, 50, 100)]
        for name in LAM_SCHEDULES
    }
    assert shown == {
        "constant": [1, 1, 1, 1, 1],
        "warmup": [0.1, 0.5, 1, 1, 1],
        "cosine": [1, 1, 0.98, 0.5, 0],
    }


START, DEADLINE = 10_000.0, 0.5


def at(progress: float, value: float = 100, wait: float = 0.0) -> float:
    return course(Target("params", value), progress, start=START, deadline=DEADLINE, wait=wait)


def test_the_course_is_geometric_and_ends_at_the_deadline() -> None:
    assert [at(p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([10_000, 1000, 100, 100])


def test_the_course_waits_and_then_is_geometric() -> None:
    found = [at(p, wait=0.4) for p in (0, 0.2, 0.35, 0.5, 1)]
    assert found == pytest.approx([10_000, 10_000, 1000, 100, 100])


@given(
    value=st.floats(1, START),
    one=st.floats(0, 1),
    other=st.floats(0, 1),
    wait=st.floats(0, 0.99),
)
def test_the_course_falls_from_start_to_target(
    value: float, one: float, other: float, wait: float
) -> None:
    first, second = at(min(one, other), value, wait), at(max(one, other), value, wait)
    assert START * (1 + 1e-9) >= first >= second * (1 - 1e-9) >= value * (1 - 1e-9) ** 2
    assert at(wait * DEADLINE * one, value, wait) == START
    assert at(max(one, DEADLINE), value, wait) == value, (
        "bit for bit: the last choice is made exactly"
    )


def test_a_target_lies_between_the_least_and_the_start() -> None:
    target = Target("params", 100)
    check_target(target, start=101, least=100)
    for start in (100, 99):
        message = (
            f"target of 100 params: the network begins with {start}, so there is nothing to shrink"
        )
        with pytest.raises(ConfigError, match=message):
            check_target(target, start=start, least=1)
    with pytest.raises(
        ConfigError, match=r"in every layer that can shrink there are still 101; raise"
    ):
        check_target(target, start=1000, least=101)


@pytest.mark.parametrize("minimum", [1, 2])
@pytest.mark.parametrize("streams", [False, True])
def test_what_was_done_already_is_no_advice(minimum: int, streams: bool) -> None:
    data = torch.randn(32, 4), torch.arange(32) % 2
    with pytest.raises(ConfigError, match="raise the target") as error:
        nd.shrink(Residual(), data, size="3 params", minimum=minimum, streams=streams)
    assert ("lower minimum" in str(error.value)) is (minimum > 1)
    assert ("streams" in str(error.value)) is not streams
    assert "nd.slim" not in str(error.value)


@pytest.mark.parametrize("streams", [False, True])
def test_what_layer_norm_holds_is_to_be_slimmed_first(streams: bool) -> None:
    """Switches cannot take channels from a LayerNorm; the advice that is given instead leads to the size."""
    torch.manual_seed(0)
    data, net = (torch.randn(32, 4), torch.arange(32) % 2), Residual(nn.LayerNorm(8))
    asked: dict[str, Any] = {"epochs": 6, "batch_size": 8, "streams": streams}
    with pytest.raises(ConfigError, match=r"norm.*nd\.slim\(") as error:
        nd.shrink(net, data, size="40 params", **asked)
    assert "residual streams" not in str(error.value)
    small = nd.slim(net, size="50 params", scope="layer", exact=False, example=data[0])
    done = nd.shrink(small.net, data, size="40 params", **asked)
    assert done.n_params <= 44


def test_streams_are_no_advice_where_layer_norm_reads_them_beside_attention() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    net = nn.Sequential(nn.Linear(4, 8), layer, nn.Flatten(), nn.Linear(24, 2))
    data = torch.randn(16, 3, 4), torch.arange(16) % 2
    with pytest.raises(ConfigError, match=r"nd\.slim") as error:
        nd.shrink(net, data, size="50 params", epochs=2)
    assert "streams" not in str(error.value)


class Residual(nn.Module):
    """A stream of eight channels to which a perceptron is added, behind a normalisation or none."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 8), norm or nn.Identity(), nn.Linear(8, 2)
        self.up, self.down = nn.Linear(8, 6), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.last(x + self.down(F.relu(self.up(self.norm(x)))))
        return out


@pytest.mark.parametrize(("costs", "place", "shown"), [([1, -2], 1, "-2"), ([math.nan], 0, "nan")])
def test_wrong_costs_are_refused(costs: list[float], place: int, shown: str) -> None:
    with pytest.raises(ConfigError, match=rf"costs\[{place}\]={shown}; what a channel saves"):
        allowance(costs, size=5, least=1)


@given(costs=costs_of, size=st.floats(1, 300), least=st.floats(1, 300))
def test_an_allowance_stops_within_half_a_unit(
    costs: list[float], size: float, least: float
) -> None:
    count = allowance(costs, size=size, least=least)
    left = [size - sum(costs[:n]) for n in range(len(costs) + 1)]
    for n in range(1, count + 1):
        assert left[n] >= least - costs[n - 1] / 2 - 1e-9
    if count < len(costs):
        assert left[count + 1] < least - costs[count] / 2 + 1e-9


class Cosine(nn.Module):
    """Cosines between units and classes: each unit counts in the length of all."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.w = nn.Linear(6, 8), nn.Parameter(torch.rand(2, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.layer(x))
        return F.linear(F.normalize(h, dim=-1), F.normalize(self.w, dim=-1))


def test_what_cannot_go_is_named_with_the_operation_its_file_and_its_line() -> None:
    x = torch.randn(16, 6)
    place = r"node 'normalize' \(normalize, test_control.py:\d+\)"
    with pytest.raises(ConfigError, match=f"layer stays whole: {place} depends on all channels"):
        nd.shrink(Cosine(), (x, (x[:, 0] > 0).long()), size="40 params", epochs=2)
    with pytest.raises(ConfigError, match=f"{place} depends on all channels of layer; exact=False"):
        nd.slim(Cosine(), share=0.5, example=x)
