"""Divergence and effective parameters: those from the prior that members were trained under, whatever the objective."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

import netdial as nd
from netdial.evidence import health
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.family.leaves import effective_by_layer

LAMS = [0.1, 1.0, 8.0]
VARIANCES = {
    "scaled-kl": [2.0, 2.0, 2.0],
    "scaled-prior": [20.0, 2.0, 0.25],
}
X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
DATA = (X, X[:, :1])


def family(objective: str) -> Family:
    torch.manual_seed(0)
    config = FamilyConfig(objective=objective, prior_var=2.0, log_std=-1.0)
    return Family(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)), config)


@pytest.mark.parametrize("objective", list(VARIANCES))
def test_they_are_from_the_prior_of_the_objective(objective: str) -> None:
    made = family(objective)
    fields = made.fields_at(LAMS)
    assert fields.log_std is not None
    prior = torch.tensor(VARIANCES[objective])
    own = Normal(fields.mean, fields.log_std.exp())
    exact = kl_divergence(own, Normal(0.0, prior.sqrt()[:, None])).sum(1)
    torch.testing.assert_close(made.kl(LAMS), exact)
    shares = (1 - (2 * fields.log_std).exp() / prior[:, None]).clamp_min(0).sum(1)
    torch.testing.assert_close(made.effective_parameters(LAMS), shares)
    for lam, share in zip(LAMS, shares.tolist(), strict=True):
        assert sum(effective_by_layer(made, lam).values()) == pytest.approx(share, rel=1e-5)
    torch.testing.assert_close(
        made.kl(LAMS, torch.full((3,), 2.0)), fields.kl(torch.full((3,), 2.0))
    )


@pytest.mark.parametrize("objective", list(VARIANCES))
def test_a_posterior_that_is_its_prior_has_none(objective: str) -> None:
    made = family(objective)
    with torch.no_grad():
        for table in made.maps.values():
            for row in table.parameters():
                row.zero_()
        spread = made.log_std
        assert spread is not None
        for lam, variance in zip(LAMS, VARIANCES[objective], strict=True):
            for row in spread.parameters():
                row.fill_(0.5 * torch.tensor(variance).log())
            assert float(made.effective_parameters([lam])) == pytest.approx(0.0, abs=1e-4)
            assert float(made.kl([lam])) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("objective", list(VARIANCES))
def test_an_evaluation_says_what_a_check_of_the_family_says(objective: str) -> None:
    made = nd.fit(family(objective).net, DATA, objective=objective, prior_var=2.0, epochs=3)
    rows = nd.evaluate(made, DATA, lams=LAMS)
    checked = health(made, DATA, lams=LAMS, n_samples=2)
    for row, spread in zip(rows.members, checked.spreads, strict=True):
        assert row.effective_parameters == pytest.approx(spread.effective_parameters, rel=1e-4)
        assert row.kl_bits == pytest.approx(sum(spread.leaf_kl_bits.values()), rel=1e-4)
