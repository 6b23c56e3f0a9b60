"""The compiled step of a chain comes to what torch's own operations come to; they are the law that it is held to.

The operation is built once on a machine; where there is no compiler, these tests have nothing to test and say so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netdial as nd
from netdial.channels.layers.pick import Pick
from netdial.core.errors import ConfigError, NonFiniteError
from netdial.family.family import Family
from netdial.family.running.compiled import library
from netdial.objective import Terms
from netdial.task import Classification, Regression
from netdial.train.config import make_config
from netdial.train.feed import Batch, TensorFeed
from netdial.train.loop import resume, train
from netdial.train.method import FamilyMethod, FamilyState

BUILT = library.built_file().exists()
LACK = "" if BUILT else library.missing()
pytestmark = [
    pytest.mark.skipif(bool(LACK), reason=f"nothing can be compiled here: {LACK}"),
    *([] if BUILT else [pytest.mark.slow]),  # the first build takes half a minute
]
OBJECTIVES = ("l1", "l2", "log-sum", "scaled-kl", "scaled-prior", "ard")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


@st.composite
def chains(draw: st.DrawFn) -> nn.Sequential:
    """One to four linear layers of 1 to 9 outputs, with or without biases, and functions between them."""
    widths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    torch.manual_seed(draw(st.integers(0, 99)))
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers.append(nn.Linear(inputs, outputs, bias=draw(st.booleans())))
        layers += draw(st.sampled_from([[], [nn.ReLU()], [nn.Tanh()], [nn.Sigmoid()]]))
    return nn.Sequential(*layers)


def batch_for(net: nn.Sequential, task: Any, size: int, *, weighted: bool) -> Batch:
    """Random examples for a network, in double precision."""
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    outputs = linears[-1].out_features
    x = torch.randn(size, linears[0].in_features).double()
    y = (
        torch.randint(0, outputs, (size,))
        if task.targets == "classes"
        else torch.randn(size, outputs).double()
    )
    return Batch(x, y, torch.rand(size).double() + 0.5 if weighted else None, 0.7)


def a_step(
    net: nn.Module, task: Any, batch: Batch, dtype: torch.dtype, *, compiled: bool, **settings: Any
) -> tuple[dict[str, Tensor], list[Tensor], FamilyState]:
    """Terms and gradients of one step of a family whose pivots differ."""
    config = make_config(epochs=1, compiled=compiled, optimizer="SGD", warmup=1.0, **settings)
    family = Family(net, config.family()).to(dtype).train()
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for pivots in family.parameters():
            pivots += 0.3 * torch.randn(pivots.shape, generator=source).to(pivots)
    method = FamilyMethod(config, task=task, n_data=100, steps=10)
    state = method.init(family)
    assert (state.compiled is not None) == compiled
    state.step = 3
    x, y, weight, share = batch
    y = y if y.dtype == torch.int64 else y.to(dtype)
    terms = method.step(state, Batch(x.to(dtype), y, weight, share))
    return terms, [p.grad for p in family.parameters() if p.grad is not None], state


def far(a: Tensor, b: Tensor) -> float:
    """Largest difference, in units of the largest number."""
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))


@given(
    chains(),
    st.sampled_from(OBJECTIVES),
    st.sampled_from(["linear", "piecewise", "centred"]),
    st.sampled_from(["stratified", "whole"]),
    st.sampled_from([Classification(), Regression(), Regression(train_var=(0.3,))]),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(1, 5),
    st.integers(1, 21),
    st.booleans(),
)
def test_a_compiled_step_has_the_terms_and_gradients_of_torchs_operations(
    net: nn.Sequential,
    objective: str,
    kind: str,
    sampling: str,
    task: Any,
    dtype: torch.dtype,
    groups: int,
    size: int,
    weighted: bool,
) -> None:
    batch = batch_for(net, task, size, weighted=weighted)
    settings = {"objective": objective, "map": kind, "sampling": sampling, "groups": groups}
    law, law_grads, _ = a_step(net, task, batch, dtype, compiled=False, **settings)
    found, grads, _ = a_step(net, task, batch, dtype, compiled=True, **settings)
    assert torch.equal(law["unit"], found["unit"])
    for name in Terms._fields:
        assert found[name].dtype == dtype
        assert far(law[name], found[name]) < TOLERANCE[dtype]
    assert len(grads) == len(law_grads)
    for expected, grad in zip(law_grads, grads, strict=True):
        assert far(expected, grad) < TOLERANCE[dtype]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_table_of_one_member_whose_network_picks_its_inputs(objective: str) -> None:
    torch.manual_seed(0)
    body = [nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)]
    batch = batch_for(nn.Sequential(*body), Classification(), 16, weighted=True)
    net = nn.Sequential(Pick(torch.tensor([2, 0, 3, 1])), *body)
    settings = {"objective": objective, "map": "table", "lams": (0.5,)}
    given = (net, Classification(), batch, torch.float64)
    law, expected, _ = a_step(*given, compiled=False, **settings)
    found, grads, _ = a_step(*given, compiled=True, **settings)
    for name in Terms._fields:
        assert far(law[name], found[name]) < 1e-12
    for a, b in zip(expected, grads, strict=True):
        assert far(a, b) < 1e-12


@pytest.mark.parametrize("objective", ["l1", "ard"])
def test_members_that_run_one_by_one_add_their_gradients(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    batch = batch_for(net, Classification(), 16, weighted=False)
    given = (net, Classification(), batch, torch.float64)
    _, together, _ = a_step(*given, compiled=True, objective=objective)
    monkeypatch.setattr(Family, "side_by_side", lambda *_: False)
    _, apart, _ = a_step(*given, compiled=True, objective=objective)
    for a, b in zip(together, apart, strict=True):
        assert far(a, b) < 1e-13


def started(blobs: tuple[Tensor, Tensor], *, compiled: bool) -> tuple[Any, FamilyState, TensorFeed]:
    """A method, its state and a feed, in single precision under Adam."""
    torch.manual_seed(0)
    config = make_config(compiled=compiled, objective="ard", batch_size=20, epochs=4)
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    method = FamilyMethod(config, task=Classification(), n_data=60, steps=3)
    return (
        method,
        method.init(Family(net, config.family())),
        TensorFeed(nd.Dataset(*blobs), batch_size=20, seed=0),
    )


def test_a_compiled_run_that_is_resumed_ends_bit_for_bit_where_it_would_have(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "state"
    method, whole, feed = started(blobs, compiled=True)
    train(method, whole, feed, epochs=4, report=lambda _: None)
    method, first, feed = started(blobs, compiled=True)
    train(method, first, feed, epochs=2, report=lambda _: None, checkpoint=file)
    method, second, feed = started(blobs, compiled=True)
    train(
        method,
        second,
        feed,
        epochs=4,
        progress=resume(second, file, {}),
        report=lambda _: None,
    )
    for name, part in whole.family.state_dict().items():
        assert torch.equal(part, second.family.state_dict()[name]), name


@pytest.mark.parametrize("before", [True, False])
def test_a_run_goes_on_with_the_other_kind_of_step_and_says_so(
    blobs: tuple[Tensor, Tensor], tmp_path: Path, before: bool
) -> None:
    file = tmp_path / "state"
    method, whole, feed = started(blobs, compiled=before)
    train(method, whole, feed, epochs=4, report=lambda _: None)
    method, first, feed = started(blobs, compiled=before)
    train(method, first, feed, epochs=2, report=lambda _: None, checkpoint=file)
    method, second, feed = started(blobs, compiled=not before)
    with pytest.warns(UserWarning, match="compiled"):
        progress = resume(second, file, {})
    train(method, second, feed, epochs=4, progress=progress, report=lambda _: None)
    for name, part in whole.family.state_dict().items():
        assert torch.allclose(part, second.family.state_dict()[name], atol=1e-3), name


def test_what_is_not_finite_is_said_and_moves_nothing(blobs: tuple[Tensor, Tensor]) -> None:
    method, state, _ = started(blobs, compiled=True)
    with torch.no_grad():
        state.family.mean.pivots[0, 0] = float("nan")
    before = state.family.mean.pivots.detach().clone()
    with pytest.raises(NonFiniteError, match=r"0\.weight"):
        method.step(state, Batch(*blobs))
    assert torch.equal(before.nan_to_num(), state.family.mean.pivots.nan_to_num())


def test_a_target_that_is_no_class_is_refused(blobs: tuple[Tensor, Tensor]) -> None:
    method, state, _ = started(blobs, compiled=True)
    with pytest.raises(IndexError, match="target 3 is none of 3 classes"):
        method.step(state, Batch(blobs[0], blobs[1] + 1))


@pytest.mark.parametrize(
    ("net", "settings", "why"),
    [
        (lambda: nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3)), {}, "no chain"),
        (lambda: nn.Linear(5, 3), {"map": "lowrank"}, "lowrank"),
        (
            lambda: nn.Linear(5, 3),
            {"objective": "scaled-kl", "posterior": {"bias": "point"}},
            "posterior of their own",
        ),
    ],
)
def test_what_cannot_be_compiled_is_trained_by_torch_and_said(
    blobs: tuple[Tensor, Tensor], net: Callable[[], nn.Module], settings: Any, why: str
) -> None:
    torch.manual_seed(0)
    made = net()
    with pytest.warns(UserWarning, match=why):
        family = nd.fit(made, blobs, compiled=True, epochs=1, **settings)
    law = nd.fit(made, blobs, epochs=1, **settings)
    for name, part in law.state_dict().items():
        assert torch.equal(part, family.state_dict()[name]), name


def test_the_environment_turns_it_off(
    blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(library.VARIABLE, "0")
    with pytest.warns(UserWarning, match=library.VARIABLE):
        nd.fit(nn.Linear(5, 3), blobs, compiled=True, epochs=1)


def test_without_a_compiler_it_is_refused_in_words(
    blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    library.load.cache_clear()
    with pytest.raises(ConfigError, match="no-such-compiler"):
        nd.fit(nn.Linear(5, 3), blobs, compiled=True, epochs=1)
    assert not list(tmp_path.iterdir())
