"""Parts of one's own, names, and numbers out of range."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import netdial as nd
from netdial.family.maps import MAPS
from netdial.objective import OBJECTIVES
from netdial.pruning.weights.criteria import CRITERIA

from .situations import refused, right

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 10}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


@contextlib.contextmanager
def registered(registry: Any, name: str, part: Any) -> Iterator[None]:
    inner = getattr(registry, "_registry", registry)
    before = dict(inner._parts)
    registry.add(name)(part)
    try:
        yield
    finally:
        inner._parts = before


@right
def test_an_objective_of_ones_own() -> None:
    """Half the KL at λ trains the members that the KL trains at λ / 2, and evaluation and choice know it."""

    def half(fields: Any, lam: torch.Tensor, prior_var: float) -> torch.Tensor:
        return 0.5 * lam * fields.kl(torch.full_like(lam, prior_var))

    with registered(OBJECTIVES, "half-kl", half):
        found = nd.fit_direct(net(), (X, Y), lams=[1.0], objective="half-kl", **SHORT)[0]
        whole = nd.fit_direct(net(), (X, Y), lams=[0.5], objective="scaled-kl", **SHORT)[0]
        assert nd.assess(found, (X, Y), lams=[1.0], by=("elbo",))
        assert nd.choose(found, train=(X, Y), by="eb-elbo", lams=[1.0], shares=(0,)).row.lam == 1.0
    torch.testing.assert_close(
        found.at(1.0)["0.weight"], whole.at(0.5)["0.weight"], rtol=0.2, atol=5e-3
    )


@right
def test_a_map_of_ones_own() -> None:
    """A map registered under a new name trains a family."""
    with registered(MAPS, "again", MAPS["linear"]):
        family = nd.fit(net(), (X, Y), map="again", **SHORT)
        assert bool(family.export(1.0)(X).isfinite().all())
    same = nd.fit(net(), (X, Y), map="linear", **SHORT)
    assert torch.equal(family.at(1.0)["0.weight"], same.at(1.0)["0.weight"])


@right
def test_a_criterion_of_ones_own() -> None:
    """Importance = -|μ|: the largest half of the weights go."""
    with registered(CRITERIA, "smallest", lambda subject: -subject.fields.mean.abs()):
        family = nd.fit(net(), (X, Y), **SHORT)
        pruned = nd.prune(family, 1.0, 0.5, criterion="smallest")
    name = "0.weight"
    kept, before = pruned.at(1.0)[name].abs(), family.at(1.0)[name].abs()
    left = kept > 0
    assert bool(left.any()) and bool((~left).any())
    assert float(before[left].max()) <= float(before[~left].min())


@right
def test_a_family_is_called_like_a_network() -> None:
    """``family(x, lam=1.0)`` is the member's forward; several λ are stacked ``[K, B, O]``."""
    family = nd.fit(net(), (X, Y), **SHORT)
    torch.testing.assert_close(family(X, lam=1.0), family.export(1.0)(X))
    both = family(X, lam=[0.1, 1.0])
    assert both.shape == (2, 40, 2)
    torch.testing.assert_close(both[1], family.export(1.0)(X))


@right
def test_public_names_can_be_listed() -> None:
    """``dir(nd)`` holds every public name, and each can be used."""
    listed = set(dir(nd))
    assert set(nd.__all__) <= listed and {"fit", "load_model", "FamilyClassifier"} <= listed
    assert all(callable(getattr(nd, name)) for name in nd.__all__)


@refused("did you mean 'scaled-kl'")
def test_a_mistyped_objective() -> None:
    """``objective="scaled_kl"``."""
    nd.fit(net(), (X, Y), objective="scaled_kl", **SHORT)


@refused("epochz", "epochs")
def test_a_mistyped_setting() -> None:
    """``epochz=3``."""
    nd.fit(net(), (X, Y), epochz=3)


@refused("lo", "hi")
def test_a_range_the_wrong_way_round() -> None:
    """λ from 100 to 0.001."""
    nd.fit(net(), (X, Y), lam=(100.0, 1e-3), **SHORT)


@refused("lr=inf")
def test_an_infinite_learning_rate() -> None:
    """``lr=inf``."""
    nd.fit(net(), (X, Y), lr=float("inf"), **SHORT)


@refused("log_std")
def test_a_start_that_is_no_number() -> None:
    """``log_std=nan``."""
    nd.fit(net(), (X, Y), log_std=float("nan"), **SHORT)


@refused("prior_var")
def test_a_prior_beyond_single_precision() -> None:
    """``prior_var=1e300``."""
    nd.fit(net(), (X, Y), prior_var=1e300, **SHORT)


@refused("lo=1e-300")
def test_a_range_beyond_single_precision() -> None:
    """λ from 1e-300 to 1e300."""
    nd.fit(net(), (X, Y), lam=(1e-300, 1e300), **SHORT)


@right
def test_a_minimum_of_channels_that_no_layer_has() -> None:
    """``shrink(minimum=10**6)``: every group keeps all of its channels."""
    small = nd.shrink(net(), (X, Y), lam=10.0, minimum=10**6, **SHORT)
    assert set(small.widths.values()) == {6}


@refused("seed")
def test_a_seed_beyond_64_bits() -> None:
    """``build(seed=2**70)``."""
    nd.build("mlp:6", input_shape=(3,), n_outputs=2, seed=2**70)


@refused("lr")
def test_training_that_diverges() -> None:
    """``lr=1e30``: it stops where the first number is not finite, and says what to lower."""
    nd.fit(net(), (X, Y), lr=1e30, epochs=5, batch_size=10)


@refused("10000")
def test_ten_million_regions() -> None:
    """``regions=10**7`` takes no memory before it is refused."""
    nd.fit(net(), (X, Y), regions=10**7, **SHORT)


@refused("mlp:6", "Module")
def test_a_name_in_place_of_a_network() -> None:
    """``nd.fit("mlp:6", ...)``: the network itself is wanted."""
    nd.fit("mlp:6", (X, Y), **SHORT)  # type: ignore[arg-type]


@refused("accelerator='gpu'", "auto or cpu")
def test_a_device_that_is_not_there() -> None:
    """``accelerator="gpu"`` on a machine without one (or 4,096 devices where there is one)."""
    many = 4096 if torch.cuda.is_available() else 1
    nd.fit(net(), (X, Y), accelerator="gpu", devices=many, groups=many, **SHORT)
