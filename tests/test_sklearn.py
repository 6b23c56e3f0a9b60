"""The estimators: scikit-learn's own contract, prediction at any λ, quality on real data, bad input."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError, DataError, ShapeError

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine, make_blobs, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from netdial.measure import predictive
from netdial.sklearn import FamilyClassifier, FamilyRegressor

X, Y = make_blobs(n_samples=90, centers=3, cluster_std=1.0, random_state=0)
XR, YR = make_regression(n_samples=90, n_features=4, noise=5.0, random_state=0)


def classifier(**options: Any) -> FamilyClassifier:
    return FamilyClassifier(**{"epochs": 10, "random_state": 0, "n_samples": 4, **options})


def regressor(**options: Any) -> FamilyRegressor:
    return FamilyRegressor(**{"epochs": 10, "random_state": 0, "n_samples": 4, **options})


SHORT: dict[str, Any] = {"n_points": 3, "n_samples": 4}


@pytest.mark.slow
@parametrize_with_checks([FamilyClassifier(**SHORT)])
def test_scikit_learns_contract(estimator: Any, check: Any) -> None:
    hold(estimator, check)


@pytest.mark.slow
@parametrize_with_checks([FamilyRegressor(**SHORT)])
def test_scikit_learns_contract_of_the_regressor(estimator: Any, check: Any) -> None:
    """It is the classifier's base with another task."""
    hold(estimator, check)


def hold(estimator: Any, check: Any) -> None:
    """Checks that look at scores get the epochs that they need; the others ask nothing of what is learned."""
    name = getattr(check, "func", check).__name__
    check(estimator.set_params(epochs=25 if "train" in name or "weight" in name else 2))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [FamilyClassifier(), FamilyRegressor()])
def test_scikit_learns_contract_with_default_settings(estimator: Any) -> None:
    check_estimator(estimator, on_skip=None)


@pytest.mark.slow
def test_wine_at_the_chosen_value() -> None:
    x, y = load_wine(return_X_y=True)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    assert cross_val_score(FamilyClassifier(random_state=0), x, y, cv=folds).mean() >= 0.93


@pytest.mark.slow
def test_diabetes_at_the_chosen_value() -> None:
    x, y = load_diabetes(return_X_y=True)
    folds = KFold(3, shuffle=True, random_state=0)
    assert cross_val_score(FamilyRegressor(random_state=0), x, y, cv=folds).mean() > 0.35


def test_predict_turns_the_dial() -> None:
    model = classifier(epochs=30).fit(X, Y)
    assert (model.family_.domain.lo, model.family_.domain.hi) == (0.01, 10)
    simple, complex_ = model.predict_proba(X, lam=10), model.predict_proba(X, lam=0.01)
    assert simple.max(axis=1).mean() < complex_.max(axis=1).mean()
    np.testing.assert_allclose(simple.sum(axis=1), 1)
    np.testing.assert_array_equal(
        model.predict(X, lam=0.01), model.classes_[complex_.argmax(axis=1)]
    )
    np.testing.assert_array_equal(model.predict(X), model.predict(X, lam=model.lam_))
    assert model.score(X, Y, lam=0.01) == (model.predict(X, lam=0.01) == Y).mean()


def test_predictions_are_those_of_the_exported_member() -> None:
    model = classifier(n_samples=0).fit(X, Y)
    assert model.using_ == "mean weights"
    net = model.family_.export(1.0)
    with torch.no_grad():
        logits = net(torch.as_tensor(model.scaler_.transform(X), dtype=torch.float32))
    np.testing.assert_allclose(
        model.predict_proba(X, lam=1.0), logits.softmax(1).numpy(), atol=1e-5
    )


def test_the_path_and_the_choice() -> None:
    model = classifier(objective="scaled-kl", n_points=5, epochs=30).fit(X, Y)
    assert [row["lam"] for row in model.path_] == pytest.approx(model.family_.domain.grid(5))
    assert {"accuracy", "nll", "brier", "ece", "kl_bits"} <= model.path_[0].keys()
    losses = {row["lam"]: min(row["nll"], row["nll_predictive"]) for row in model.path_}
    assert losses[model.lam_] == min(losses.values())
    (row,) = (row for row in model.path_ if row["lam"] == model.lam_)
    better = "predictive" if row["nll_predictive"] < row["nll"] else "mean weights"
    assert model.using_ == better
    frequencies = np.bincount(Y) / len(Y)
    assert model.constant_["nll"] == pytest.approx(
        -(frequencies * np.log(frequencies)).sum(), rel=0.05
    )
    regression = regressor(objective="l2", map="linear", n_points=4, epochs=30).fit(XR, YR)
    best = min(row["rmse"] for row in regression.path_)
    assert regression.lam_ == max(row["lam"] for row in regression.path_ if row["rmse"] == best)
    assert "kl_bits" not in regression.path_[0]


def test_the_default_is_points_over_the_range_of_their_objective() -> None:
    model = classifier(n_points=3, epochs=30).fit(X, Y)
    assert (model.family_.objective, model.family_.log_std) == ("l1", None)
    assert [row["lam"] for row in model.path_] == pytest.approx([0.01, 10**-0.5, 10])
    assert {"accuracy", "nll", "norm"} <= model.path_[0].keys()
    assert model.path_[0]["norm"] > model.path_[-1]["norm"]
    assert model.using_ == "mean weights"
    assert model.path_[[row["lam"] for row in model.path_].index(model.lam_)]["nll"] == min(
        row["nll"] for row in model.path_
    )
    wide = classifier(hi=100, lam=50).fit(X, Y)
    assert (wide.family_.domain.lo, wide.family_.domain.hi) == (0.01, 100)
    normal = classifier(objective="scaled-kl", lam=50).fit(X, Y)
    assert (normal.family_.domain.lo, normal.family_.domain.hi) == (1e-3, 100)
    with pytest.raises(ValueError, match=r"lam=50: outside the trained range \[0.01, 10\]"):
        classifier(lam=50).fit(X, Y)


def test_any_metric_and_rule_choose_on_request() -> None:
    options: dict[str, Any] = {"n_points": 5, "epochs": 15, "n_samples": 0}
    model = classifier(metric="balanced_accuracy", **options).fit(X, Y)
    best = max(row["balanced_accuracy"] for row in model.path_)
    chosen = next(row for row in model.path_ if row["lam"] == model.lam_)
    assert chosen["balanced_accuracy"] == best
    simple, top = classifier(by="one-se", **options).fit(X, Y), classifier(**options).fit(X, Y)
    assert simple.lam_ >= top.lam_
    with pytest.raises(ValueError, match="unknown metric 'acc'"):
        classifier(metric="acc").fit(X, Y)
    with pytest.raises(ValueError, match="unknown rule 'bst'; did you mean 'best'"):
        classifier(by="bst").fit(X, Y)


def test_probabilities_are_averaged_where_that_is_better() -> None:
    model = classifier(objective="scaled-kl", epochs=30, n_points=3, n_samples=8).fit(X, Y)
    x = torch.as_tensor(model.scaler_.transform(X), dtype=torch.float32)
    for lam, way in model._ways.items():
        found = model.predict_proba(X, lam=lam)
        if way == "predictive":
            draws = predictive(
                model.family_, lam, (x, torch.as_tensor(Y)), n_samples=8, seed=model._draws_seed
            )
            wanted = draws.softmax(dim=-1).mean(dim=0)
        else:
            wanted = model.family_.export(lam)(x).detach().softmax(dim=-1)
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)
    assert "predictive" in model._ways.values()
    np.testing.assert_allclose(model.predict_proba(X)[:5], model.predict_proba(X[:5]), atol=1e-12)


def test_a_set_value_is_used() -> None:
    model = classifier(lam=2.5).fit(X, Y)
    assert model.lam_ == 2.5
    assert model.path_


@pytest.mark.parametrize(("rows", "fraction"), [(12, 0.2), (90, 0.0)])
def test_without_validation_rows_the_middle_is_used(rows: int, fraction: float) -> None:
    model = classifier(validation_fraction=fraction).fit(X[:rows], Y[:rows])
    assert model.path_ == []
    assert model.lam_ == pytest.approx(10**-0.5)
    assert regressor(validation_fraction=fraction).fit(XR[:rows], YR[:rows]).path_ == []


def test_rare_classes_stay_in_training() -> None:
    y = np.where(np.arange(90) == 7, "rare", np.where(Y == 0, "a", "b"))
    model = classifier().fit(X, y)
    assert model.classes_.tolist() == ["a", "b", "rare"]
    assert set(model.predict(X)) <= set(model.classes_)


def test_the_same_state_gives_the_same_model() -> None:
    global_state = torch.get_rng_state()
    one, two, other = (classifier(random_state=s).fit(X, Y).predict_proba(X) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-3
    assert torch.equal(torch.get_rng_state(), global_state)


def test_pickle_and_clone() -> None:
    model = regressor().fit(XR, YR)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict(XR, lam=3), again.predict(XR, lam=3))
    assert clone(model).get_params() == model.get_params()


def test_pandas_text_labels_and_pipelines() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["width", "height"])
    labels = pandas.Series(np.array(["red", "green", "blue"])[Y])
    model = make_pipeline(
        MinMaxScaler().set_output(transform="pandas"), classifier(epochs=40, lam=0.1)
    )
    model.fit(frame, labels)
    assert model.score(frame, labels) > 0.7
    assert model[-1].feature_names_in_.tolist() == ["width", "height"]


def test_several_targets_and_units() -> None:
    y = np.stack([YR, 1000 - 2 * YR], axis=1)
    model = regressor(epochs=60).fit(XR, y)
    assert model.predict(XR).shape == (90, 2)
    assert model.score(XR, y, lam=0.01) > 0.9


def test_a_constant_target_is_predicted() -> None:
    model = regressor(epochs=40).fit(XR, np.full(90, 7.0))
    np.testing.assert_allclose(model.predict(XR), 7, atol=0.2)


def normed(n_features: int, n_outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, n_outputs)
    )


@pytest.mark.slow
def test_a_network_of_ones_own() -> None:
    one, two = (
        classifier(model=normed, epochs=30, batch_size=24, n_points=3).fit(X, Y) for _ in range(2)
    )
    assert one.score(X, Y, lam=0.01) > 0.8
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "mpl:32"}, ConfigError, "unknown network 'mpl'; did you mean 'mlp'"),
        (
            {"model": nn.Linear(2, 3)},
            ConfigError,
            "a function .n_features, n_outputs. -> nn.Module",
        ),
        ({"model": lambda f, k: "net"}, ConfigError, "the function gave a str"),
        (
            {"model": lambda f, k: nn.Linear(f, 5)},
            ShapeError,
            r"gives \[2, 5\] .* expected a tensor \[2, 3\]",
        ),
        ({"model": lambda f, k: nn.Flatten()}, ShapeError, r"gives \[2, 2\]"),
        ({"objective": "scaled_kl"}, ConfigError, "did you mean 'scaled-kl'"),
        ({"map": "quadratic"}, ConfigError, "unknown map"),
        ({"lo": 0}, ConfigError, "lo=0"),
        ({"lo": 10, "hi": 1}, ConfigError, "expected 0 < lo < hi"),
        ({"epochs": 0}, ConfigError, "epochs=0"),
        ({"lam": 1e5}, ConfigError, "lam=100000: outside the trained range"),
        ({"n_points": 0}, ConfigError, "n_points=0"),
        ({"validation_fraction": 1.0}, ConfigError, "validation_fraction=1.0"),
    ],
)
def test_bad_settings_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        classifier(**options).fit(X, Y)


def test_bad_data_is_refused() -> None:
    with pytest.raises(DataError, match="one class only"):
        classifier().fit(X, np.zeros(90))
    with pytest.raises(ValueError, match="NaN"):
        classifier().fit(np.where(X > 3, np.nan, X), Y)
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="dense data is required"):
        classifier().fit(sparse.csr_matrix(X), Y)
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        regressor().fit(XR[:1], YR[:1])


def test_values_outside_the_range_are_refused() -> None:
    model = classifier(lo=0.1, hi=10).fit(X, Y)
    with pytest.raises(ConfigError, match=r"lam=100: outside the trained range \[0.1, 10\]"):
        model.predict(X, lam=100)
    with pytest.raises(NotFittedError):
        classifier().predict(X)


def test_without_scikit_learn_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import netdial\n"
        "from netdial.core.errors import MissingExtra\n"
        "try: netdial.FamilyClassifier\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wanted = "netdial.sklearn needs: pip install 'netdial[data]'"
    assert done.stdout.strip() == wanted


def rare(seed: int = 0) -> tuple[Any, Any]:
    """Two overlapping classes, one row in twelve of the second."""
    source = np.random.default_rng(seed)
    y = (np.arange(480) % 12 == 0).astype(int)
    return source.normal(size=(480, 4)) + 1.5 * y[:, None], y


@pytest.mark.slow
def test_balanced_classes_find_the_rare_one() -> None:
    x, y = rare()
    names = np.array(["no", "yes"])[y]
    plain = classifier().fit(x, names)
    for weights in ("balanced", {"no": 1.0, "yes": 11.0}):
        found = classifier(class_weight=weights, metric="accuracy", n_samples=0).fit(x, names)
        hits = [float((m.predict(x)[y == 1] == "yes").mean()) for m in (plain, found)]
        assert hits[1] > max(hits[0] + 0.1, 0.7), hits
        best = max(row["weighted_accuracy"] for row in found.path_)
        assert {r["lam"]: r["weighted_accuracy"] for r in found.path_}[found.lam_] == best
    by_row = classifier().fit(x, names, sample_weight=np.where(y == 1, 11.5, 1.5))
    assert (by_row.predict(x)[y == 1] == "yes").mean() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("make", [classifier, regressor])
def test_whole_weights_are_counts_and_the_order_of_rows_plays_no_part(make: Any) -> None:
    x, y = (X, Y) if make is classifier else (XR, YR)
    counts = np.arange(90) % 3
    settings = {"epochs": 3}
    found = make(**settings).fit(x, y, sample_weight=counts).predict(x)
    repeated = make(**settings).fit(x.repeat(counts, axis=0), y.repeat(counts)).predict(x)
    assert np.array_equal(found, repeated)
    assert np.array_equal(make(**settings).fit(x[::-1], y[::-1], counts[::-1]).predict(x), found)


@pytest.mark.slow
@pytest.mark.parametrize("folds", [0, 4])
def test_rows_that_weights_repeat_are_not_chosen_on_as_well(folds: int) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(80, 8)), random.integers(0, 2, 80)  # nothing to learn but by heart
    model = FamilyClassifier("mlp:64", epochs=40, folds=folds, random_state=0)
    model.fit(x, y, sample_weight=np.full(80, 10.0))
    assert max(row["accuracy"] for row in model.path_) < 0.8  # 1 where copies are in both parts
    assert model.lam_ > 1


@pytest.mark.parametrize("make", [classifier, regressor])
def test_weights_of_rows_are_checked(make: Any) -> None:
    x, y = (X, Y) if make is classifier else (XR, YR)
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        make(epochs=1).fit(x, y, sample_weight=-np.ones(90))
    with pytest.raises(ValueError, match="at least one non-zero number"):
        make(epochs=1).fit(x, y, sample_weight=np.zeros(90))
    scaled = make(epochs=3).fit(x, y, sample_weight=np.linspace(0.1, 2, 90))
    again = make(epochs=3).fit(x, y, sample_weight=2 * np.linspace(0.1, 2, 90))
    assert np.allclose(scaled.predict(x).astype(float), again.predict(x).astype(float), rtol=1e-3)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_folds_train_on_all_rows_and_choose_on_those_held_out(kind: str) -> None:
    make, x, y = (classifier, X, Y) if kind == "classifier" else (regressor, XR, YR)
    model = make(folds=3).fit(x, y)
    assert model.family_.n_data == len(x)
    loss = "nll" if kind == "classifier" else "rmse"
    best = min(model.path_, key=lambda row: row[loss])
    assert model.lam_ == best["lam"]
    assert model.predict(x).shape[0] == len(x)


@pytest.mark.parametrize("folds", [-1, 1, 2.5])
def test_a_number_of_folds_that_cannot_be_is_refused(folds: float) -> None:
    with pytest.raises(ConfigError, match="folds"):
        classifier(folds=folds).fit(X, Y)


@pytest.mark.parametrize("kind", ["datetime64[s]", "timedelta64[s]"])
def test_times_are_no_targets(kind: str) -> None:
    with pytest.raises(ValueError, match=r"y: \w+64\[s\], where numbers are needed"):
        regressor().fit(XR, np.arange(len(XR)).astype(kind))
