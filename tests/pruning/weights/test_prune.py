"""Pruning a member: what goes, what stays, and that it survives whatever comes after."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.models.family import load_family, save_family
from netdial.pruning.weights import CRITERIA, Policy, importance, masks, prune
from netdial.train.finetune import finetune, specialise

from .problems import LAMS, family_of, mlp, with_dead_input

N_WEIGHTS = 35 + 21


@given(share=st.floats(0, 0.99), lam=st.sampled_from(LAMS))
def test_the_least_important_weights_are_zero_and_the_others_as_they_were(
    share: float, lam: float
) -> None:
    family = family_of()
    kept = masks(importance(family, [lam]), family.layout, [share])[0, 0]
    pruned = prune(family, lam, share)
    assert pruned.kept is not None
    assert torch.equal(pruned.kept, kept)
    assert int((~kept).sum()) == round(share * N_WEIGHTS)
    before, after = (family.layout.join(f.at(lam)) for f in (family, pruned))
    assert torch.equal(after, before * kept)
    assert pruned.config.lams == (lam,)
    assert family.kept is None, "the family is left as it is"


def test_share_zero_is_the_member_itself(blobs: tuple[Tensor, Tensor]) -> None:
    data = with_dead_input(blobs)
    family = family_of()
    pruned = prune(family, 1.0, 0.0, data=data)
    for name, leaf in family.at(1.0).items():
        assert torch.equal(leaf, pruned.at(1.0)[name])


def test_dead_inputs_cost_nothing(blobs: tuple[Tensor, Tensor]) -> None:
    x, y = with_dead_input(blobs)
    family = family_of()
    share = 7 / N_WEIGHTS
    pruned, plain = (prune(family, 1.0, share, data=(x, y), fold=fold) for fold in (True, False))
    before = family.export(1.0)(x)
    assert torch.allclose(pruned.export(1.0)(x), before, atol=1e-5)
    assert not torch.allclose(plain.export(1.0)(x), before, atol=1e-2)
    assert not pruned.at(1.0)["0.weight"][:, 2].any()
    assert int((pruned.at(1.0)["0.weight"] == 0).sum()) == 7


def test_the_spread_of_a_folded_weight_leaves_with_it(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    pruned = prune(family, 1.0, 0.5, data=with_dead_input(blobs))
    fields, kept = pruned.fields_at([1.0]), pruned.kept
    assert fields.var is not None and kept is not None
    assert not fields.var[0, ~kept].any()
    before = family.fields_at([1.0]).var
    assert before is not None
    assert torch.equal(fields.var[0, kept], before[0, kept])


@pytest.mark.parametrize("posterior", ["normal", "point"])
def test_masks_survive_training_saving_and_export(
    posterior: str, blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    family = family_of(posterior=posterior)
    pruned = prune(family, 1.0, 0.6, data=with_dead_input(blobs))
    trained = finetune(pruned, 1.0, blobs, epochs=3, lr=1e-2)
    save_family(trained, tmp_path / "f.safetensors", {})
    again = load_family(tmp_path / "f.safetensors", mlp())
    assert pruned.kept is not None
    for member in (pruned, trained, again):
        flat = torch.cat([leaf.flatten() for leaf in member.export(1.0).parameters()])
        assert not flat[~pruned.kept].any()
    moved = trained.layout.join(trained.at(1.0)) - pruned.layout.join(pruned.at(1.0))
    assert bool((moved[pruned.kept] != 0).all())
    twice = prune(again, 1.0, 0.8)
    assert twice.kept is not None
    assert int((~twice.kept).sum()) == round(0.8 * N_WEIGHTS), "shares are of the whole network"


def test_what_was_pruned_is_not_trained_without_its_posterior(
    blobs: tuple[Tensor, Tensor],
) -> None:
    pruned = prune(family_of(), 1.0, 0.5)
    assert pruned.kept is not None
    kept = pruned.layout.split(pruned.kept)
    name = next(name for name, mask in kept.items() if not mask.all())
    with pytest.raises(ConfigError, match="pruned"):
        finetune(pruned, 1.0, blobs, epochs=1, shared=[name])
    still = finetune(pruned, 1.0, blobs, epochs=1, shared=[name], freeze=[name])
    assert torch.equal(still.export(1.0).get_parameter(name), pruned.at(1.0)[name])
    whole = next(name for name, mask in kept.items() if mask.all())
    finetune(pruned, 1.0, blobs, epochs=1, shared=[whole])


def test_a_smaller_share_gives_nothing_back(blobs: tuple[Tensor, Tensor]) -> None:
    half = prune(family_of(), 1.0, 0.5)
    again = prune(half, 1.0, 0.2)
    assert half.kept is not None and again.kept is not None
    assert torch.equal(half.kept, again.kept)


def test_a_pruned_bias_takes_nothing_over(blobs: tuple[Tensor, Tensor]) -> None:
    data = with_dead_input(blobs)
    family = family_of()
    kept = torch.ones(family.layout.size, dtype=torch.bool)
    family.layout.split(kept)["0.bias"][:3] = False
    family.restrict(kept)
    pruned = prune(family, 1.0, 4 / N_WEIGHTS, data=data)
    assert pruned.at(1.0)["0.weight"][3:, 2].tolist() == [0.0] * 4
    assert torch.allclose(pruned.export(1.0)(data[0]), family.export(1.0)(data[0]), atol=1e-5)


def test_rows_and_biases(blobs: tuple[Tensor, Tensor]) -> None:
    pruned = prune(family_of(), 1.0, 0.5, policy=Policy(rows=True, biases=True), data=blobs)
    tree = pruned.at(1.0)
    dead = (tree["0.weight"] == 0).all(dim=1)
    assert int(dead.sum()) == round(0.5 * 7)
    assert torch.equal(tree["0.bias"] == 0, dead)
    assert bool((tree["2.weight"] != 0).all())


@pytest.mark.parametrize("name", list(CRITERIA))
def test_any_criterion_prunes_a_convolutional_network_with_batch_normalisation(
    name: str, pictures: tuple[Tensor, Tensor]
) -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
    )
    family = family_of(net)
    pruned = prune(family, 1.0, 0.5, criterion=name, data=pictures)
    assert pruned.kept is not None
    assert int((~pruned.kept).sum()) == round(0.5 * (72 + 96))
    assert pruned.export(1.0)(pictures[0]).isfinite().all()


def test_a_member_stays_in_its_precision(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(double=True)
    pruned = prune(family, 1.0, 0.3, data=with_dead_input(blobs))
    assert pruned.dtype == torch.float64
    before = family.layout.join(family.at(1.0))
    assert pruned.kept is not None
    different = pruned.layout.join(pruned.at(1.0)) != before * pruned.kept
    assert int(different.sum()) == 7, "the biases that took over"


@pytest.mark.parametrize("share", [-0.1, 1.0, 90.0])
def test_shares_outside_the_range_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=rf"share={share:g}: outside \[0, 1\).*0.9 for 90 %"):
        prune(family_of(), 1.0, share)


def test_wrong_questions_are_refused(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    with pytest.raises(ConfigError, match="unknown criterion 'densty'; did you mean 'density'"):
        prune(family, 1.0, 0.5, criterion="densty")
    with pytest.raises(ConfigError, match="outside the trained range"):
        prune(family, 1e6, 0.5)
    with pytest.raises(ConfigError, match="'obd-ggn' measures the loss on training data"):
        prune(family, 1.0, 0.5, criterion="obd-ggn")
    with pytest.raises(ConfigError, match="a point posterior has none"):
        prune(family_of(posterior="point"), 1.0, 0.5, criterion="density")


class Scaled(nn.Module):
    """A network with a parameter of one number, without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(5, 7), nn.Linear(7, 3)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.hidden(x).relu() * self.scale)
        return out


@pytest.mark.parametrize("posterior", ["normal", "point"])
def test_a_parameter_without_dimensions_is_one_of_the_member(
    posterior: str, blobs: tuple[Tensor, Tensor]
) -> None:
    config = FamilyConfig(posterior=posterior, map="linear")
    family = Family(Scaled(), config)
    with torch.no_grad():
        for table in family.maps.values():
            for row in table.parameters():
                row.add_(0.01 * torch.randn_like(row))
    member = specialise(family, 2.0)
    for name, value in family.at(2.0).items():
        torch.testing.assert_close(member.at(2.0)[name], value)
    assert prune(family, 2.0, 0.5).at(2.0)["scale"].shape == ()
    assert finetune(family, 2.0, blobs, epochs=1).at(2.0)["scale"].shape == ()
