"""Choosing a member: the proper loss, one rule everywhere, and the worth of a constant beside every member."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from torch import nn

import netdial as nd
from netdial.core.best import Row, best, one_se, proportion, remarks
from netdial.core.errors import MemberWarning

from .situations import refused, right

X = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
Y = ((X[:, 0] + 0.8 * torch.randn(120, generator=torch.Generator().manual_seed(1))) > 0.6).long()
LAMS = (0.01, 0.03, 0.1, 0.3, 1.0, 10.0)


def family(**settings: Any) -> nd.Family:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return nd.fit(net, (X[:60], Y[:60]), **{"epochs": 20, "batch_size": 20, "lr": 0.02, **settings})


def choose(of: nd.Family, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemberWarning)
        return nd.choose(of, (X[60:], Y[60:]), lams=LAMS, **options)


@right
def test_the_best_member_has_the_smallest_log_loss() -> None:
    """``best`` is the λ of the smallest NLL on validation data, not of the best accuracy."""
    found = family()
    path = nd.evaluate(found, (X[60:], Y[60:]), lams=LAMS)
    least = min(path.members, key=lambda member: member.metrics["nll"])
    assert path.best().lam == least.lam
    assert choose(found, by="best", shares=(0,)).row.lam == least.lam


@right
def test_one_standard_error_is_one_rule_everywhere() -> None:
    """``evaluate``, ``surface`` and ``choose`` name the same member within one standard error."""
    found = family()
    path = nd.evaluate(found, (X[60:], Y[60:]), lams=LAMS)
    chosen = choose(found, by="one-se", shares=(0,))
    rows = nd.surface(found, (X[60:], Y[60:]), lams=LAMS, shares=(0,)).rows()
    assert path.best("one-se").lam == chosen.row.lam == rows[one_se(rows)].lam


@right
def test_the_standard_error_is_that_of_paired_differences() -> None:
    """Two members that differ by .1 ± .01 on each row are apart, though each has a standard error of 1: se = sd(d) / √n."""
    found = family()
    path = nd.evaluate(found, (X[60:], Y[60:]), lams=[0.01, 10.0])
    nll = [
        nn.functional.cross_entropy(found.export(lam)(X[60:]), Y[60:], reduction="none")
        .detach()
        .double()
        for lam in (0.01, 10.0)
    ]
    worse = int(nll[1].mean() > nll[0].mean())
    expected = float((nll[1] - nll[0]).std() / math.sqrt(60))
    assert abs(path.rows()[worse].error - expected) < 1e-4 * (1 + expected)


@right
def test_a_metric_that_cannot_tell_members_apart_does_not_choose() -> None:
    """Both members at 100 % accuracy ± 0: the log loss decides, and it is said."""
    rows = [
        Row(0.1, 0.0, 0.0, 10, proper=0.1, proper_error=0.01),
        Row(10.0, 0.0, 0.0, 10, proper=0.6, proper_error=0.05),
    ]
    assert best(rows) == one_se(rows) == 0
    assert any("does not tell" in said for said in remarks(rows, 0, metric="accuracy"))


@right
def test_all_right_is_not_certain() -> None:
    """36 of 36 right: up to 3/36 = 8 % may be wrong (rule of three), not ± 0."""
    assert "8%" in proportion(1.0, 36) and "± 0" not in proportion(1.0, 36)


@right
def test_a_choice_at_the_end_of_the_range_is_said() -> None:
    """The chosen λ is the smallest of the trained range: a remark names it."""
    rows = [Row(0.001, 0.1, 0.0, 10), Row(1.0, 0.5, 0.1, 10), Row(100.0, 0.9, 0.1, 10)]
    assert any("0.001" in said for said in remarks(rows, 0, 0.001, 100.0))
    assert not remarks(rows, 1, 0.001, 100.0)


@right
def test_a_loss_that_is_no_number_is_never_chosen() -> None:
    """Losses nan, inf, 2, 1: the last."""
    rows = [
        Row(lam, loss, 0.1, 1) for lam, loss in ((1, math.nan), (2, math.inf), (3, 2.0), (4, 1.0))
    ]
    assert best(rows) == one_se(rows) == 3


@refused("finite")
def test_no_loss_is_a_number() -> None:
    """Nothing can be chosen among losses that are all nan."""
    best([Row(1.0, math.nan), Row(2.0, math.nan)])


@right
def test_the_constant_of_a_classification_is_the_class_frequencies() -> None:
    """Three quarters of class 0: accuracy .75, NLL = entropy of (3/4, 1/4) = .5623 nats."""
    y = torch.tensor([0, 0, 0, 1] * 15)
    constant = nd.evaluate(family(epochs=1), (X[:60], y), lams=[1.0]).constant
    assert abs(constant["accuracy"] - 0.75) < 1e-9
    assert abs(constant["nll"] - (-0.75 * math.log(0.75) - 0.25 * math.log(0.25))) < 1e-6


@right
def test_a_member_that_is_worse_than_a_constant_is_marked() -> None:
    """Labels contrary to what was learned: every member is worse than class frequencies, and choosing one warns."""
    found = family()
    contrary = (X[60:], ((X[60:, 0]) < 0).long())
    path = nd.evaluate(found, contrary, lams=[0.01])
    assert path.is_worse_than_constant(path.members[0])
    assert path.members[0].metrics["nll"] > path.constant["nll"]
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        nd.choose(found, contrary, lams=[0.01], shares=(0,))
    assert any(issubclass(each.category, MemberWarning) for each in log)


@refused("accurracy", "accuracy")
def test_an_unknown_metric() -> None:
    """A metric that does not exist; the nearest one is offered."""
    choose(family(epochs=1), metric="accurracy")


@right
def test_metrics_on_request_are_those_of_scikit_learn() -> None:
    """Balanced accuracy and log loss of a member as scikit-learn computes them from its outputs."""
    found = family(epochs=5)
    probs = found.export(0.1)(X[60:]).detach().double().softmax(-1).numpy()
    y = Y[60:].numpy()
    named = {
        "balanced_accuracy": balanced_accuracy_score(y, probs.argmax(1)),
        "auc": roc_auc_score(y, probs[:, 1]),
        "nll": log_loss(y, probs),
    }
    for name, value in named.items():
        got = nd.evaluate(found, (X[60:], Y[60:]), lams=[0.1], metric=name).members[0].metrics[name]
        assert abs(got - value) < 1e-4, (name, got, value)


@right
def test_predictive_or_mean_weights_is_said_and_the_better_one_taken() -> None:
    """``Choice.using`` is what has the smaller log loss on validation data, and ``predict`` uses it."""
    chosen = choose(family(objective="scaled-kl", epochs=60, lr=0.05), by="best", shares=(0,))
    probs = {}
    for using in ("mean weights", "predictive"):
        found = chosen.predict(X[60:], using=using, n_samples=64).detach()
        logits = found if bool((found < 0).any()) else found.log()
        probs[using] = float(nn.functional.nll_loss(logits.log_softmax(-1), Y[60:]))
    assert chosen.using in probs
    other = next(name for name in probs if name != chosen.using)
    assert probs[chosen.using] <= probs[other] + 0.02
    torch.testing.assert_close(chosen.predict(X[60:]), chosen.predict(X[60:], using=chosen.using))


@right
def test_the_estimator_has_probabilities_no_worse_than_a_constant() -> None:
    """Overlapping classes: the log loss of ``predict_proba`` on new rows is below that of class frequencies."""
    random = np.random.default_rng(0)
    y = np.arange(400) % 2
    x = random.normal(size=(400, 5)) + 1.2 * y[:, None] * np.array([1, 1, 0, 0, 0])
    model = nd.FamilyClassifier(random_state=0, epochs=15).fit(x[:200], y[:200])
    probs = model.predict_proba(x[200:])
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-9)
    assert log_loss(y[200:], probs) < math.log(2) - 0.1
    by_nll = min(model.path_, key=lambda row: min(row["nll"], row.get("nll_predictive", math.inf)))
    assert model.lam_ == by_nll["lam"]


@right
def test_the_estimator_chooses_by_accuracy_on_request() -> None:
    """``metric="accuracy"`` takes a member of the highest validation accuracy."""
    random = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = random.normal(size=(200, 3)) + 0.8 * y[:, None]
    model = nd.FamilyClassifier(random_state=0, epochs=10, metric="accuracy").fit(x, y)
    top = max(max(row["accuracy"], row.get("accuracy_predictive", 0)) for row in model.path_)
    chosen = next(row for row in model.path_ if row["lam"] == model.lam_)
    assert max(chosen["accuracy"], chosen.get("accuracy_predictive", 0)) == top


@refused("outside", "1000")
def test_a_complexity_beyond_the_range() -> None:
    """λ = 1000 of a family for 0.01 to 10."""
    nd.evaluate(family(epochs=1), (X, Y), lams=[1000.0])
