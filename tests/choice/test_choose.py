"""Choosing for real: what the table says is what the module does, and what is asked for is what comes back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.choice import BudgetError, Choice, agreement, choose
from netdial.core.errors import ConfigError, MemberWarning
from netdial.data import Splits
from netdial.data.dataset import Dataset
from netdial.family import Family, FamilyConfig
from netdial.measure import evaluate
from netdial.measure.cost import cost
from netdial.models.member import load_member
from netdial.nets import build
from netdial.pruning.weights import Policy

yaml = pytest.importorskip("yaml")

SHARES = (0.0, 0.5, 0.9)

pytestmark = pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")


@pytest.fixture(scope="module")
def choice(family: Family, wine: Splits) -> Choice:
    return choose(family, wine.valid, train=wine.train, lams=5, data_name="wine")


def test_the_default_is_one_standard_error(choice: Choice, wine: Splits) -> None:
    table = choice.table
    assert choice.by == "one-se"
    assert len(table.cells) == 5 * 14
    assert table.metric == "nll"
    top = int(table.losses.mean(dim=1).argmin())
    gaps = table.losses - table.losses[top]
    errors = gaps.std(dim=1) / math.sqrt(len(wine.valid))
    near = [
        cell.params
        for cell, gap, error in zip(table.cells, gaps.mean(dim=1), errors, strict=True)
        if gap <= error
    ]
    assert choice.row.params == min(near)
    assert f"The best has nll {table.cells[top].value:.4f}" in choice.why


def test_printed_it_says_what_was_chosen_and_why_in_a_few_lines(
    choice: Choice, wine: Splits
) -> None:
    said = str(choice)
    assert choice.why in said
    assert f"{choice.row.params:,}".replace(",", "") in said
    assert len(said) < 1500
    assert len(repr(choice)) < 100
    assert repr(wine.valid) == "Dataset(36 examples: x float32 [36, 13], y int64 [36])"


def test_any_metric_decides_if_it_is_asked_for(family: Family, wine: Splits) -> None:
    for metric in ("accuracy", "balanced_accuracy", "brier", "auc"):
        found = choose(family, wine.valid, by="best", metric=metric, lams=3, shares=SHARES)
        values = [cell.value for cell in found.table.cells]
        sign = 1 if wine.kind and metric != "brier" else -1
        assert sign * found.row.value == max(sign * value for value in values)
        assert metric in found.why
    with pytest.raises(ConfigError, match="unknown metric 'accuray'; did you mean 'accuracy'"):
        choose(family, wine.valid, metric="accuray")
    ones = wine.valid.y == 1
    with pytest.raises(ConfigError, match="no value on these data for any of 6 members"):
        choose(
            family, (wine.valid.x[ones], wine.valid.y[ones]), metric="auc", lams=3, shares=[0, 0.5]
        )


def test_an_accuracy_is_chosen_as_before_where_one_example_counts(
    family: Family, wine: Splits
) -> None:
    found = choose(family, wine.valid, train=wine.train, metric="accuracy", lams=5)
    mistakes = found.table.losses.sum(dim=1)
    fewest = min(
        cell.params
        for cell, wrong in zip(found.table.cells, mistakes, strict=True)
        if wrong == mistakes.min() + 1  # one more is within one standard error
    )
    assert found.row.params <= fewest
    top = max(cell.value for cell in found.table.cells)
    assert f"The best has accuracy {top:.4f}" in found.why


def test_the_better_way_to_predict_is_stored_and_used(choice: Choice, wine: Splits) -> None:
    x, y = wine.valid.inputs(), wine.valid.y
    means, average = (choice.predict(x, using=way) for way in ("mean weights", "predictive"))
    torch.testing.assert_close(means, choice.module(x).softmax(dim=1))
    losses = [
        float(-probs.gather(1, y[:, None]).log().mean())
        for probs in (means, choice.predict(x, using="predictive", n_samples=16))
    ]
    assert losses[0] == pytest.approx(choice.row.metrics["nll"], rel=1e-4)
    assert losses[1] == pytest.approx(choice.average["nll"], rel=1e-4)
    assert choice.using == ("predictive" if losses[1] < losses[0] else "mean weights")
    default = average if choice.using == "predictive" else means
    torch.testing.assert_close(choice.predict(x), default)
    with pytest.raises(ConfigError, match="unknown way to predict 'mean'"):
        choice.predict(x, using="mean")


@pytest.mark.filterwarnings("error::netdial.core.errors.MemberWarning")
def test_what_is_worse_than_a_constant_is_said(
    family: Family, wine: Splits, tmp_path: Path
) -> None:
    frequencies = wine.train.y.bincount().double() / len(wine.train)
    nll = float(-frequencies[wine.valid.y].log().mean())
    good = choose(family, wine.valid, train=wine.train, by="best", lams=3, shares=[0.0])
    assert good.constant["nll"] == pytest.approx(nll)
    assert not good.is_worse_than_constant
    with pytest.warns(MemberWarning, match="worse than a constant"):
        bad = choose(family, wine.valid, train=wine.train, by="sparsest", lams=[100.0])
    assert bad.is_worse_than_constant and bad.row.value > nll
    assert any("worse than a constant" in text for text in bad.remarks)
    assert "worse than a constant" in bad.card and f"nll {nll:.4f}" in bad.card
    with pytest.warns(MemberWarning, match="worse than a constant"):
        bad.export(tmp_path / "bad.safetensors")


def test_what_is_said_of_a_constant_is_of_the_member_as_it_is_now(
    family: Family, wine: Splits
) -> None:
    """The constant is put between what pruning costs and what training brings back."""
    good = choose(family, wine.valid, train=wine.train, by="best", lams=[0.01, 0.1], shares=[0.0])
    worst = good.prune(fraction=0.8, criterion="random").row.value
    good = replace(good, constant={"nll": worst - 0.01})
    bad = good.prune(fraction=0.8, criterion="random")
    back = bad.finetune(epochs=20)
    assert [c.is_worse_than_constant for c in (good, bad, back)] == [False, True, False]
    said = [[text for text in c.remarks if "worse than a constant" in text] for c in (bad, back)]
    assert "with 0.8 removed" in said[0][0] and not said[1]
    assert said[0][0] in bad.card and "worse than a constant" not in back.card
    assert good.remarks == back.remarks


def test_a_choice_at_an_end_of_the_range_says_what_to_do(family: Family, wine: Splits) -> None:
    found = choose(family, wine.valid, by="sparsest", lams=[1.0, 100.0], shares=[0.0, 0.99])
    assert found.lam == 100.0
    assert any("hi=1000" in text for text in found.remarks)


class Fragile(nn.Module):
    """A linear classifier whose outputs are not numbers once a weight is large."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(13, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = (self.linear.weight.abs().max() < 50).to(x.dtype)
        out: torch.Tensor = self.linear(x) * small / small
        return out


@pytest.mark.parametrize("metric", [None, "accuracy", "auc"])
def test_a_member_that_is_not_a_number_is_never_chosen(wine: Splits, metric: str | None) -> None:
    table = FamilyConfig(map="table", lams=(0.1, 1.0, 10.0), posterior="point")
    family = Family(Fragile(), table).eval()
    rows = [p for p in family.parameters() if len(p) == 3]
    with torch.no_grad():
        for row in rows:
            row[2] = 100.0
    found = choose(
        family, wine.valid, by="best", metric=metric, lams=[0.1, 1.0, 10.0], shares=[0.0]
    )
    assert found.lam == 1.0  # both others are alike; of equals the larger
    assert any("1 of 3 members" in text and "λ = 10" in text for text in found.remarks)
    path = evaluate(family, wine.valid, lams=[0.1, 1.0, 10.0])
    assert math.isnan(path.members[2].metrics["accuracy"]) and path.best().lam == 1.0
    with torch.no_grad():
        for row in rows:
            row[:] = 100.0
    with pytest.raises(ConfigError, match="none of 3 members has a finite loss"):
        choose(family, wine.valid, metric=metric, lams=[0.1, 1.0, 10.0], shares=[0.0])


def test_the_module_does_what_the_table_says(choice: Choice, family: Family, wine: Splits) -> None:
    x = wine.valid.inputs()
    right = choice.module(x).argmax(dim=1) == wine.valid.y
    assert float(right.double().mean()) == pytest.approx(choice.row.accuracy)
    nll = nn.functional.cross_entropy(choice.module(x).detach(), wine.valid.y)
    assert float(nll) == pytest.approx(choice.row.value, rel=1e-5)
    found = cost(choice.module, x[:1])
    assert (found.nonzero, found.bytes, found.effective_macs) == (
        choice.row.params,
        choice.row.bytes,
        choice.row.macs,
    )
    assert not choice.module.training
    assert family.kept is None
    assert choice.family.kept is not None


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("fold", [False, True])
def test_every_cell_is_the_member_that_pruning_gives(
    family: Family, wine: Splits, share: float, fold: bool
) -> None:
    dead = Dataset(wine.train.x.clone(), wine.train.y)
    dead.x[:, 3] = 0.25
    found = choose(
        family,
        wine.valid,
        by="best",
        train=dead if fold else None,
        lams=[0.1, 10.0],
        shares=[share],
    )
    for index, cell in enumerate(found.table.cells):
        pruned = nd.prune(family, cell.lam, share, data=dead if fold else None)
        net = pruned.export(cell.lam)
        priced = cost(net, wine.valid.inputs()[:1])
        assert (priced.nonzero, priced.bytes, priced.effective_macs) == (
            cell.params,
            cell.bytes,
            cell.macs,
        )
        out = net(wine.valid.inputs())
        losses = nn.functional.cross_entropy(out.double(), wine.valid.y, reduction="none")
        torch.testing.assert_close(found.table.losses[index], losses, rtol=1e-4, atol=1e-5)


def test_costs_of_networks_with_shared_and_excluded_parts() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(40, 40), nn.Linear(40, 40)
            self.two.weight = self.one.weight
            self.norm, self.head = nn.BatchNorm1d(40), nn.Linear(40, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.norm(self.two(self.one(x).tanh())))
            return out

    source = torch.Generator().manual_seed(0)
    x = torch.randn(12, 40, generator=source)
    family = Family(Tied(), FamilyConfig(shared=("head.*",))).eval()
    found = choose(family, (x, x[:, 0].gt(0).long()), by="best", lams=[1.0], shares=[0.8])
    priced = cost(found.module, x[:1])
    assert (priced.nonzero, priced.bytes, priced.effective_macs) == (
        found.row.params,
        found.row.bytes,
        found.row.macs,
    )


@pytest.mark.parametrize("limit", ["max_params", "max_bytes", "max_macs"])
def test_a_budget_takes_the_best_that_meets_it(family: Family, wine: Splits, limit: str) -> None:
    of = limit.removeprefix("max_")
    every = choose(family, wine.valid, by="best", lams=3, shares=SHARES)
    bound = sorted(getattr(cell, of) for cell in every.table.cells)[4]
    found = choose(family, wine.valid, lams=3, shares=SHARES, **{limit: bound})
    assert found.by == "best"
    assert getattr(found.row, of) <= bound
    meets = [cell.value for cell in every.table.cells if getattr(cell, of) <= bound]
    assert found.row.value == min(meets)
    assert f"members within {limit}=" in found.why


def test_a_lowest_accuracy_alone_takes_the_sparsest(family: Family, wine: Splits) -> None:
    found = choose(family, wine.valid, lams=3, shares=SHARES, min_accuracy=0.6)
    meets = [cell for cell in found.table.cells if cell.accuracy >= 0.6]
    assert found.by == "sparsest"
    assert found.row.params == min(cell.params for cell in meets)


def test_a_budget_that_nothing_meets_names_the_nearest(family: Family, wine: Splits) -> None:
    with pytest.raises(
        BudgetError,
        match=r"no member meets max_params=20, min_accuracy=0.9 \(3 values of lam, 3 shares removed up to 0.9\); "
        r"nearest: lam=.* with share=.* removed, \d+ parameters, \d+ bytes, \d+ MACs, nll .*, accuracy 0\.",
    ) as caught:
        choose(family, wine.valid, lams=3, shares=SHARES, max_params=20, min_accuracy=0.9)
    nearest = caught.value.nearest
    again = choose(
        family,
        wine.valid,
        lams=[nearest.lam],
        shares=[nearest.share],
        max_params=nearest.params,
        min_accuracy=nearest.accuracy,
    )
    assert again.row.value == pytest.approx(nearest.value, rel=1e-6)
    assert replace(again.row, value=0.0, metrics={}, latency_ms=0.0) == replace(
        nearest, value=0.0, metrics={}, latency_ms=0.0
    )


@pytest.mark.slow
def test_latency_is_measured_when_it_is_limited(family: Family, wine: Splits) -> None:
    found = choose(family, wine.valid, lams=2, shares=[0.0], max_latency_ms=1e4)
    assert 0 < found.row.latency_ms < 1e4
    assert "latency for one example" in found.card
    with pytest.raises(BudgetError, match=r"nearest: .* ms, nll .*, accuracy"):
        choose(family, wine.valid, lams=2, shares=[0.0], max_latency_ms=1e-9)


def test_an_estimator_needs_no_validation_data(family: Family, wine: Splits) -> None:
    found = choose(family, by="eb-elbo", train=wine.train, lams=5)
    estimates = nd.assess(family, wine.train, lams=5, by=["eb-elbo"])
    assert found.lam == min(estimates, key=lambda e: e.value).lam
    assert found.share == 0
    assert math.isnan(found.row.value)
    assert "Lowest eb-elbo on training data" in found.why and "bits/example" in found.why
    small = choose(family, by="eb-elbo", train=wine.train, lams=5, max_params=100)
    assert small.share == min(
        cell.share for cell in small.table.cells if cell.lam == small.lam and cell.params <= 100
    )


def test_members_of_a_regression_are_chosen_by_rmse() -> None:
    task = nd.load_data("diabetes")
    net = nd.build("mlp:8", input_shape=(10,), n_outputs=1)
    family = nd.fit(net, task.train, kind="regression", objective="l2", epochs=10, batch_size=32)
    found = choose(family, task.valid, kind="regression", lams=5)
    values = [cell.value for cell in found.table.cells]
    (row,) = evaluate(found.family, task.valid, lams=[found.lam], kind="regression").members
    assert found.row.value == pytest.approx(row.metrics["rmse"], rel=1e-5)
    assert found.row.value >= min(values) and found.table.metric == "rmse"
    assert "by magnitude" in found.card
    tuned = found.finetune(task.train, epochs=1)
    assert bool((tuned.module.get_parameter("fc1.weight") == 0).any())


def test_double_precision_and_convolutions(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = pictures[0].double(), pictures[1]
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
    )
    family = nd.fit(net, (x, y), precision="64-true", epochs=2, batch_size=24, groups=2)
    found = choose(family, (x, y), train=(x, y), lams=2, shares=(0.0, 0.8), finetune_epochs=1)
    assert found.module.get_parameter("0.weight").dtype == torch.float64
    priced = cost(found.module, x[:1])
    assert (priced.bytes, priced.effective_macs) == (found.row.bytes, found.row.macs)


@pytest.mark.slow
def test_the_member_goes_on_as_in_the_design(choice: Choice, wine: Splits, tmp_path: Path) -> None:
    small = choice.prune(criterion="magnitude", fraction=0.99).finetune(wine.train, epochs=2)
    assert small.share == 0.99
    assert small.row.params <= 0.01 * (13 * 16 + 16 * 3) + 1 + 19
    assert small.row.params == cost(small.module, wine.valid.inputs()[:1]).nonzero
    right = small.module(wine.valid.inputs()).argmax(dim=1) == wine.valid.y
    assert small.row.accuracy == pytest.approx(float(right.double().mean()))
    small.export(tmp_path / "model.onnx")
    small.export(tmp_path / "model.pt2")
    x = wine.valid.inputs()
    again = torch.export.load(tmp_path / "model.pt2").module()(x)
    torch.testing.assert_close(again, small.module(x))
    assert (tmp_path / "model.onnx").stat().st_size > 0


@pytest.mark.slow
def test_members_fine_tuned_after_every_step_are_chosen_from(family: Family, wine: Splits) -> None:
    options: dict[str, Any] = {"lams": 4, "shares": (0.0, 0.5, 0.8, 0.9, 0.95), "max_params": 40}
    plain = choose(family, wine.valid, train=wine.train, **options)
    tuned = choose(
        family, wine.valid, train=wine.train, finetune_epochs=3, batch_size=16, lr=5e-3, **options
    )
    assert len(tuned.table.cells) > len(plain.table.cells) == 20
    assert tuned.row.epochs == 3 and tuned.row.value < plain.row.value
    assert tuned.row.params <= 40
    right = tuned.module(wine.valid.inputs()).argmax(dim=1) == wine.valid.y
    assert float(right.double().mean()) == pytest.approx(tuned.row.accuracy)
    found = cost(tuned.module, wine.valid.inputs()[:1])
    assert (found.nonzero, found.bytes) == (tuned.row.params, tuned.row.bytes)
    assert "of them fine-tuned; " in tuned.why
    assert "| fine-tuned | 3 epoch(s) after every step of pruning |" in tuned.card
    by_mdl = choose(family, by="mdl", train=wine.train, lams=3, finetune_epochs=2, batch_size=16)
    assert by_mdl.steps == ("fine-tuned for 2 epoch(s)",) and by_mdl.row.epochs == 0


def test_what_was_removed_does_not_come_back(choice: Choice) -> None:
    with pytest.raises(ConfigError, match=r"fraction=0: a share of .* is removed already"):
        choice.prune(fraction=0)


def test_an_export_is_a_folder_as_the_hub_has_them(choice: Choice, tmp_path: Path) -> None:
    meta = {"net": {"spec": "mlp:16", "input_shape": [13], "n_outputs": 3}}
    choice.export(tmp_path / "m", meta=meta)
    again = load_member(tmp_path / "m")
    state = choice.module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    weights = (tmp_path / "m/model.safetensors").read_bytes()
    assert len(weights) - 8 - int.from_bytes(weights[:8], "little") == choice.row.bytes
    config = json.loads((tmp_path / "m/config.json").read_text())
    chosen = {"share": choice.share, "by": "one-se", "using": choice.using}
    assert config["meta"] == {**chosen, **meta}
    assert (tmp_path / "m/README.md").read_text(encoding="utf-8") == choice.card


def head_of(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_the_card_states_what_was_chosen_and_how(choice: Choice, wine: Splits) -> None:
    head = head_of(choice.card)
    assert head["library_name"] == "netdial"
    (model,) = head["model-index"]
    result, accuracy = model["results"]
    assert accuracy["metrics"][0]["value"] == choice.row.accuracy
    assert result["task"]["type"] == "tabular-classification"
    assert result["dataset"] == {"name": "wine", "type": "wine", "split": "validation"}
    assert result["metrics"] == [
        {"type": "nll", "name": "validation nll", "value": choice.row.value}
    ]
    for text in (
        f"| λ | {choice.lam:.6g} |",
        "by density",
        f"{choice.row.params} of 275 are not zero",
        f"{choice.row.bytes} bytes",
        f"± {choice.error:.4f} (standard error over {len(wine.valid)} examples)",
        "Sparsest within one standard error",
        "The test data were not looked at.",
    ):
        assert text in choice.card, text


def test_test_data_are_looked_at_only_when_asked(choice: Choice, wine: Splits) -> None:
    seen = choice.tested(wine.test)
    right = choice.module(wine.test.inputs()).argmax(dim=1) == wine.test.y
    assert seen.test["accuracy"] == pytest.approx(float(right.double().mean()))
    assert "looked at once" in seen.card
    results = head_of(seen.card)["model-index"][0]["results"]
    assert [result["dataset"]["split"] for result in results] == ["validation"] * 2 + ["test"] * 2
    assert not seen.prune(fraction=0.999).test


def test_odd_names_do_not_break_the_card(choice: Choice) -> None:
    odd = replace(choice, problem=replace(choice.problem, data_name='a: "b" #\n- c'))
    assert head_of(odd.card)["model-index"][0]["results"][0]["dataset"]["name"] == 'a: "b" #\n- c'


def test_agreement_shows_what_others_would_have_chosen(
    choice: Choice, family: Family, wine: Splits
) -> None:
    verdicts = {v.by: v for v in agreement(family, choice, by=["elbo", "mdl"])}
    assert set(verdicts) == {"best", "one-se", "elbo", "mdl"}
    assert verdicts["one-se"].cell == choice.row
    assert verdicts["best"].lost == 0 and all(v.lost >= 0 for v in verdicts.values())
    assert verdicts["mdl"].cell.share == 0
    best = min(cell.value for cell in choice.table.cells)
    assert verdicts["mdl"].lost == pytest.approx(verdicts["mdl"].cell.value - best)
    blind = choose(family, by="mdl", train=wine.train, lams=3)
    with pytest.raises(ConfigError, match="agreement compares on validation data"):
        agreement(family, blind)
    untrained = choose(family, wine.valid, lams=3, shares=SHARES)
    with pytest.raises(ConfigError, match=r"\['mdl'\].*training data"):
        agreement(family, untrained, by=["mdl"])


def test_points_are_chosen_by_magnitude_on_validation_data(points: Family, wine: Splits) -> None:
    found = choose(points, wine.valid, train=wine.train, by="best", lams=4)
    assert 0.01 <= found.lam <= 10 and found.tuning.objective == "l1"
    assert found.using == "mean weights" and not found.average
    assert "by magnitude" in found.card and not found.is_worse_than_constant
    assert found.row.value == min(cell.value for cell in found.table.cells)
    x = wine.valid.inputs()
    torch.testing.assert_close(found.predict(x), found.module(x).softmax(dim=1))
    assert {v.by for v in agreement(points, found)} == {"best", "one-se"}
    with pytest.raises(ConfigError, match=r"'mdl' does not apply to 'l1'.*objective='ard'"):
        agreement(points, found, by=["mdl"])
    with pytest.raises(ConfigError, match=r"'mdl' does not apply to 'l1'.*objective='ard'"):
        choose(points, train=wine.train, by="mdl", lams=3)
    tuned = found.finetune(wine.train, epochs=1)
    assert tuned.family.objective == "l1" and tuned.family.log_std is None


def test_whole_rows_can_be_removed(family: Family, wine: Splits) -> None:
    found = choose(
        family,
        wine.valid,
        train=wine.train,
        by="sparsest",
        lams=[1.0],
        shares=[0.5],
        policy=Policy(rows=True),
    )
    rows = found.module.get_parameter("fc1.weight")
    assert int((rows == 0).all(dim=1).sum()) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "on-se"}, "unknown rule 'on-se'; did you mean 'one-se'"),
        ({"by": "eb-elbo"}, "by='eb-elbo' is estimated on training data; give train"),
        ({"shares": [1.0]}, r"share=1: outside \[0, 1\)"),
        ({"lams": [1e6]}, "outside the trained range"),
        ({"lams": []}, "the list of complexity values is empty"),
        ({"max_params": -1}, "max_params=-1; expected a positive limit"),
        ({"min_accuracy": 95}, "min_accuracy=95; expected a share of examples"),
        ({"finetune_epochs": 1}, "finetune_epochs=1: fine-tuning needs"),
        ({"lr": 1e-3}, "lr would be of the fine-tuning; give finetune_epochs"),
        ({"criterion": "densty"}, "unknown criterion 'densty'; did you mean 'density'"),
        ({"criterion": "taylor"}, "criterion 'taylor' measures the loss on training data"),
        ({"kind": "regresion"}, "unknown task 'regresion'; did you mean 'regression'"),
    ],
)
def test_wrong_input_is_one_clear_line(
    family: Family, wine: Splits, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        choose(family, wine.valid, **options)


def test_an_illegal_estimator_says_which_are_legal(family: Family, wine: Splits) -> None:
    with pytest.raises(ConfigError, match=r"'wbic' does not apply to 'scaled-prior'.*legal: elbo"):
        choose(family, wine.valid, by="wbic", train=wine.train, lams=3, objective="scaled-prior")
    with pytest.raises(ConfigError, match="judges the family as a whole and chooses no lam"):
        choose(family, wine.valid, by="thermodynamic", train=wine.train, lams=3)


def test_points_have_no_density(wine: Splits) -> None:
    net = build("linear", input_shape=(13,), n_outputs=3)
    points = Family(net, FamilyConfig(posterior="point")).eval()
    with pytest.raises(ConfigError, match="density"):
        choose(points, wine.valid, criterion="density", lams=2)
    assert choose(points, wine.valid, lams=2).tuning.objective == "l2"


def test_rules_need_validation_data(family: Family, wine: Splits) -> None:
    with pytest.raises(ConfigError, match="by='one-se' is decided on validation data; give valid"):
        choose(family, train=wine.train)
    with pytest.raises(ConfigError, match="by='mdl' is decided on validation data"):
        choose(family, by="mdl", train=wine.train, min_accuracy=0.5)
    with pytest.raises(ConfigError, match="min_accuracy: regression has no accuracy"):
        choose(Family(nn.Linear(3, 1)), (torch.randn(9, 3), torch.randn(9, 1)), min_accuracy=0.5)
    with pytest.raises(
        ConfigError, match="'regression', but the family was trained for classification"
    ):
        choose(family, wine.valid, kind="regression")
    with pytest.raises(ConfigError, match="finetune: no training data; give train="):
        choose(family, wine.valid, lams=2, shares=SHARES).finetune()


def test_the_best_that_is_the_sparsest_is_not_compared_with_itself(
    family: Family, wine: Splits
) -> None:
    found = choose(family, wine.valid, lams=[1.0], shares=(0.0,))
    assert "higher by" not in found.why
    assert "no sparser one is within a standard error of it" in found.why
