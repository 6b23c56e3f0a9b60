"""Ready spaces: their size, their options, and that what they derive runs."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import gelu

from netdial.core.errors import ConfigError, ShapeError
from netdial.structure import StructureCosts, Supernet, derive
from netdial.structure.spaces import SPACES, from_recipe, ready_space
from netdial.structure.spaces.lecture import PolynomialFeatures


@pytest.mark.parametrize(
    ("name", "shape", "options", "count"),
    [
        ("mlp", (5,), {}, 3 * (7 * 3 * 2) ** 3),
        (
            "mlp",
            (2, 3),
            {"depth": 1, "widths": [4], "activations": ["gelu"], "norms": ["plain", "layer"]},
            2 * (3 * 2 * 2),
        ),
        ("one-layer", (4,), {}, 2),
        ("two-layer", (4,), {"width": 3}, 16),
        ("convolution-or-pooling", (2, 6, 6), {}, 2),
        ("polynomial", (2,), {"degree": 3}, 3),
        ("image-cell", (1, 7, 6), {"cells": 3, "channels": 2, "nodes": 1}, 8 ** (2 + 2)),
        (
            "image-cell",
            (3, 6, 6),
            {"cells": 1, "channels": 2, "nodes": 2, "operations": ["skip", "sep3"]},
            2**5,
        ),
        ("signal-cell", (9,), {"cells": 2, "channels": 2, "nodes": 1}, 8**2),
        (
            "signal-cell",
            (2, 9),
            {"cells": 3, "channels": 2, "nodes": 1, "operations": ["none", "dil5", "max3"]},
            3**4,
        ),
    ],
)
def test_ready_spaces(
    name: str, shape: tuple[int, ...], options: dict[str, Any], count: int
) -> None:
    space = ready_space(name, input_shape=shape, n_outputs=3, **options)
    assert space.count == count
    recipe = json.loads(json.dumps(space.recipe))
    assert from_recipe(recipe).fingerprint == space.fingerprint
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    net = Supernet(space)
    even = {
        k: torch.full((len(c.operations),), 1 / len(c.operations)) for k, c in space.choices.items()
    }
    assert net(x, even).shape == (4, 3)
    genotype = space.sample(torch.Generator().manual_seed(3))
    net.eval()  # running statistics stay
    assert torch.equal(derive(net, genotype)(x), net(x, space.gamma(genotype)))


def test_every_ready_space_is_tested_here() -> None:
    assert set(SPACES) >= {
        "mlp",
        "one-layer",
        "two-layer",
        "convolution-or-pooling",
        "polynomial",
        "image-cell",
        "signal-cell",
    }


def test_depth_of_an_mlp_goes_down_to_a_linear_network() -> None:
    space = ready_space("mlp", input_shape=(5,), n_outputs=2, depth=2, width=8)
    chosen = {
        key: next(name for name in ("skip", "none", "plain", "linear") if name in c.operations)
        for key, c in space.choices.items()
    }
    assert StructureCosts(space).of(space.genotype(chosen)).params == 5 * 8 + 8 + 8 * 2 + 2


@pytest.mark.parametrize("norms", [["plain", "layer"], ["batch"], ["layer", "batch"]])
def test_the_usual_mlp_is_a_plain_perceptron(norms: list[str]) -> None:
    options = {"depth": 2, "width": 8, "activations": ["gelu", "tanh"], "norms": norms}
    space = ready_space("mlp", input_shape=(5,), n_outputs=2, **options)
    assert space.usual is not None
    net = derive(space, space.usual)
    kinds = [type(m).__name__ for m in net.modules() if not list(m.children())]
    norm = {"plain": "Identity", "batch": "BatchNorm1d", "layer": "LayerNorm"}[norms[0]]
    told = [kind for kind in kinds if kind not in ("Identity", "Flatten")]
    wanted = ["Linear", "GELU", norm, "Linear", "GELU", "Linear"]
    assert told == [kind for kind in wanted if kind != "Identity"]
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    if norms[0] == "plain":
        by_hand = x
        for layer in (m for m in net.modules() if isinstance(m, torch.nn.Linear)):
            by_hand = layer(by_hand) if layer.out_features == 2 else gelu(layer(by_hand))
        assert torch.allclose(net(x), by_hand, atol=1e-6)


def test_polynomials_are_all_products() -> None:
    features = PolynomialFeatures(2, 2)(torch.tensor([[2.0, 3.0]]))
    assert features.tolist() == [[2, 3, 4, 6, 9]]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mpl", {}, "mlp"),
        ("mlp", {"dept": 3}, "depth"),
        ("mlp", {"depth": 0}, "depth=0"),
        ("mlp", {"widths": []}, "widths"),
        ("mlp", {"activations": ["reul"]}, "relu"),
        ("mlp", {"norms": []}, "norms"),
    ],
)
def test_options_that_do_not_fit_are_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _ = ready_space(name, input_shape=(3,), n_outputs=2, **options).wiring


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[3\]"):
        ready_space("convolution-or-pooling", input_shape=(3,), n_outputs=2)
    with pytest.raises(ConfigError, match="0 outputs"):
        ready_space("mlp", input_shape=(3,), n_outputs=0)
    with pytest.raises(ConfigError, match="recipe"):
        from_recipe({"space": "mlp"})


@pytest.mark.parametrize("name", list(SPACES))
def test_one_value_of_a_list_is_a_list_of_one(name: str) -> None:
    """Every option that takes several values takes one, as ``--space-options widths=16`` gives it."""
    shape = {"image-cell": (1, 8, 8), "convolution-or-pooling": (1, 8, 8), "signal-cell": (1, 8)}
    for option, parameter in inspect.signature(SPACES[name]).parameters.items():
        if isinstance(parameter.default, tuple):
            spaces = [
                SPACES[name](shape.get(name, (3,)), 2, **{option: value})
                for value in (parameter.default[1], (parameter.default[1],))
            ]
            assert spaces[0].count == spaces[1].count
            assert spaces[0].recipe == spaces[1].recipe


def test_the_tutorial_tells_how_large_the_space_is() -> None:
    count = ready_space("mlp", input_shape=(13,), n_outputs=3).count
    tutorial = Path(__file__).parents[2] / "docs" / "tutorial-search.md"
    assert f"a space of {count:,} networks" in tutorial.read_text(encoding="utf-8")
