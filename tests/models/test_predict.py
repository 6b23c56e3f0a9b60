"""Predictions from files: rows as people have them in, class names or numbers in the target's own units out."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import ConfigError, DataError, ShapeError
from netdial.data import Splits
from netdial.jobs.records.details import Sketcher
from netdial.models.use import KEY, ErrorLaw, Use, is_read_alike, use_of

pandas = pytest.importorskip("pandas")
N = 120


def flowers(folder: Path) -> Path:
    """A table of two numbers, a text with a category "None", and two classes that follow from them."""
    source = np.random.default_rng(0)
    width = source.normal(5, 2, N)
    colour = source.choice(["red", "blue", "None"], N)
    length = np.where(source.random(N) < 0.1, np.nan, 10 * width + source.normal(0, 1, N))
    species = np.where((width > 5) ^ (colour == "red"), "setosa", "virginica")
    price = 100 + 20 * width + source.normal(0, 10, N)
    frame = pandas.DataFrame(
        {"width": width, "length": length, "colour": colour, "species": species, "price": price}
    )
    path = folder / "flowers.csv"
    frame.to_csv(path, index=False)
    return path


def trained(data: Splits, **settings: Any) -> tuple[nd.Family, dict[str, Any]]:
    spec = {"spec": "mlp:8", "input_shape": list(data.input_shape), "n_outputs": data.n_outputs}
    net = nd.build("mlp:8", input_shape=data.input_shape, n_outputs=data.n_outputs)
    family = nd.fit(net, data.train, kind=data.kind, epochs=3, batch_size=24, lr=0.02, **settings)
    return family, {"net": spec}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flowers(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def classes(table: Path) -> tuple[Splits, nd.Family, dict[str, Any]]:
    data = nd.load_data(str(table), target="species")
    return data, *trained(data)


@pytest.fixture(scope="module")
def prices(table: Path) -> tuple[Splits, nd.Family, dict[str, Any]]:
    data = nd.load_data(str(table), target="price")
    return data, *trained(data)


def test_a_family_predicts_classes_from_a_frame_and_from_a_file(
    table: Path, classes: tuple[Splits, nd.Family, dict[str, Any]], tmp_path: Path
) -> None:
    data, family, about = classes
    nd.save(family, tmp_path / "f", data=data, about=about)
    model = nd.load_model(tmp_path / "f")
    frame = pandas.read_csv(table, keep_default_na=False, na_values=[""]).drop(columns="species")
    found = model.predict(frame[frame.columns[::-1]], lam=0.01)
    assert list(found) == ["species", "probability of setosa", "probability of virginica"]
    assert len(found) == N and set(found["species"]) <= {"setosa", "virginica"}
    totals = found[["probability of setosa", "probability of virginica"]].sum(axis=1)
    np.testing.assert_allclose(totals, 1)
    pandas.testing.assert_frame_equal(found, model.predict(str(table), lam=0.01))
    pandas.testing.assert_frame_equal(found, model.predict(frame.to_dict("records"), lam=0.01))
    rows = data.rows["train"].numpy()
    wanted = family.export(0.01)(data.train.x).softmax(1)[:, 0].detach()
    np.testing.assert_allclose(found["probability of setosa"].to_numpy()[rows], wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["member", "weights.safetensors", "pruned"])
def test_single_networks_predict_what_they_compute(
    table: Path,
    classes: tuple[Splits, nd.Family, dict[str, Any]],
    tmp_path: Path,
    kind: str,
) -> None:
    data, family, about = classes
    thing: Any = family
    if kind == "pruned":
        thing = nd.slim(family, 0.01, share=0.5, data=data.train)
    lam = None if kind == "pruned" else 0.01
    nd.save(thing, tmp_path / kind, lam=lam, data=data, about=about)
    model = nd.load_model(tmp_path / kind)
    found = model.predict(str(table))
    rows = data.rows["test"].numpy()
    wanted = model(data.test.x).argmax(1)
    assert list(found["species"].iloc[rows]) == [data.classes[k] for k in wanted]
    with pytest.raises(ConfigError, match="one network, not a family"):
        model.predict(str(table), n_samples=2)


def test_numbers_come_in_the_targets_own_units_with_intervals(
    table: Path, prices: tuple[Splits, nd.Family, dict[str, Any]], tmp_path: Path
) -> None:
    data, family, about = prices
    nd.save(family, tmp_path / "m", lam=0.01, data=data, about=about)
    model = nd.load_model(tmp_path / "m")
    found = model.predict(str(table), level=0.5)
    assert list(found) == ["price", "price low", "price high"]
    assert data.schema is not None
    target = data.schema.target
    rows = data.rows["valid"].numpy()
    z = family.export(0.01)(data.valid.x)[:, 0].double()
    wanted = (z * target.std[0] + target.mean[0]).detach()
    np.testing.assert_allclose(found["price"].to_numpy()[rows], wanted, rtol=1e-5)
    errors = np.sort((z - data.valid.y[:, 0]).abs().detach().numpy()) * target.std[0]
    half = (found["price high"] - found["price low"]) / 2
    np.testing.assert_allclose(half, errors[math.ceil((len(errors) + 1) * 0.5) - 1], rtol=1e-4)
    truth = pandas.read_csv(table)["price"]
    wide = model.predict(str(table), level=0.99)
    inside = (wide["price low"] <= truth) & (truth <= wide["price high"])
    assert inside.mean() > 0.9
    nobody = model.predict(pandas.read_csv(table).iloc[:0])
    assert list(nobody) == ["price", "price low", "price high"]
    assert len(nobody) == 0


def test_unseen_categories_and_missing_values_are_read_as_said_and_missing_columns_refused(
    classes: tuple[Splits, nd.Family, dict[str, Any]], tmp_path: Path
) -> None:
    data, family, about = classes
    nd.save(family, tmp_path / "m", lam=0.01, data=data, about=about)
    model = nd.load_model(tmp_path / "m")
    rows: dict[str, list[Any]] = {
        "width": [5.0, 5.0],
        "length": [50.0, 50.0],
        "colour": ["red", "mauve"],
    }
    rows["price"] = [200.0, 200.0]
    with pytest.warns(UserWarning, match="'mauve' in 1 row"):
        found = model.predict(rows)
    assert len(found) == 2
    with pytest.raises(DataError, match="'colour' is not in the table"):
        model.predict({"width": [5.0], "length": [50.0], "price": [1.0]})


def test_the_member_of_a_family_is_named_or_asked_for(
    table: Path, classes: tuple[Splits, nd.Family, dict[str, Any]], tmp_path: Path
) -> None:
    data, family, about = classes
    nd.save(family, tmp_path / "f", data=data, about=about)
    model = nd.load_model(tmp_path / "f")
    with pytest.raises(ConfigError, match=r"from 0\.01 to 10"):
        model.predict(str(table))
    drawn, mean = (
        model.predict(str(table), lam=0.01, n_samples=4),
        model.predict(str(table), lam=0.01),
    )
    pandas.testing.assert_frame_equal(drawn, mean)  # a point has one network to draw
    nd.save(trained(data, objective="scaled-kl")[0], tmp_path / "n", data=data, about=about)
    model = nd.load_model(tmp_path / "n")
    one, two = (model.predict(str(table), lam=0.01, n_samples=4, seed=s) for s in (0, 1))
    mean = model.predict(str(table), lam=0.01)
    column = "probability of setosa"
    assert not np.allclose(one[column], two[column]) and not np.allclose(one[column], mean[column])
    pandas.testing.assert_frame_equal(one, model.predict(str(table), lam=0.01, n_samples=4))
    told = nd.evaluate(model, data.valid, lams=[0.01], n_samples=4).table()[0]  # of the same draws
    shares = one[["probability of setosa", "probability of virginica"]].to_numpy()
    right = shares[data.rows["valid"], data.valid.y]
    assert told["nll_predictive"] == pytest.approx(-np.log(right).mean(), rel=1e-5)


def test_a_loaded_family_is_saved_with_what_it_knows_of_columns_and_errors(
    table: Path, prices: tuple[Splits, nd.Family, dict[str, Any]], tmp_path: Path
) -> None:
    data, family, about = prices
    nd.save(family, tmp_path / "f", data=data, about=about)
    model = nd.load_model(tmp_path / "f")
    found = model.predict(str(table), lam=0.3)
    nd.save(model, tmp_path / "again", about=about)
    nd.save(model, tmp_path / "one.safetensors", lam=0.3, about=about)
    for path, lam in (("again", 0.3), ("one.safetensors", None)):
        other = nd.load_model(tmp_path / path).predict(str(table), lam=lam)
        pandas.testing.assert_frame_equal(other, found, rtol=1e-6)


def test_a_loaded_family_that_is_calibrated_has_other_intervals(
    table: Path, prices: tuple[Splits, nd.Family, dict[str, Any]], tmp_path: Path
) -> None:
    data, family, about = prices
    nd.save(family, tmp_path / "f", data=data, about=about)
    model = nd.load_model(tmp_path / "f")
    before = model.predict(str(table), lam=0.1, level=0.5)
    wild = nd.data.Dataset(data.test.x, data.test.y + 9 * (-1.0) ** torch.arange(24)[:, None])
    nd.measure.calibrate(model, wild)
    nd.save(model, tmp_path / "g")
    for again in (model, nd.load_model(tmp_path / "g")):
        after = again.predict(str(table), lam=0.1, level=0.5)
        assert (after["price"] == before["price"]).all()
        half = (after["price high"] - after["price low"]) / 2
        assert half.to_numpy() == pytest.approx(9 * float(data.train.target.std[0]), rel=0.2)


def test_a_loaded_model_is_copied_and_pickled(
    table: Path, classes: tuple[Splits, nd.Family, dict[str, Any]], tmp_path: Path
) -> None:
    data, family, about = classes
    nd.save(family, tmp_path / "m", lam=0.01, data=data, about=about)
    model = nd.load_model(tmp_path / "m")
    wanted = model.predict(str(table))
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        pandas.testing.assert_frame_equal(again.predict(str(table)), wanted)
        assert isinstance(again, nn.Sequential)


def test_a_loaded_graph_is_copied_and_cut_again(
    table: Path, classes: tuple[Splits, nd.Family, dict[str, Any]], tmp_path: Path
) -> None:
    data, family, about = classes
    small = nd.slim(family, 0.01, size="30 params", data=data.train, inputs=True)
    nd.save(small, tmp_path / "s.safetensors", data=data, about=about)
    model = nd.load_model(tmp_path / "s.safetensors")
    again: Any = copy.deepcopy(copy.deepcopy(model))
    x = data.valid.inputs()
    torch.testing.assert_close(again(x), small.net(x))
    pandas.testing.assert_frame_equal(again.predict(str(table)), model.predict(str(table)))
    smaller = nd.slim(model, share=0.3, data=data.train, inputs=True)
    assert smaller.n_params < small.n_params
    assert smaller.net(x).isfinite().all()


def test_columns_that_a_network_does_not_read_may_be_absent(table: Path, tmp_path: Path) -> None:
    data = nd.load_data(str(table), target="price", drop=("species",))
    net = nd.build("mlp:8", input_shape=data.input_shape, n_outputs=1)
    torch.nn.init.zeros_(next(net.parameters()).detach()[:, 1:])
    small = nd.slim(net, share=0.7, criterion="magnitude", data=data.train, inputs=True)
    assert small.inputs == (0,), "nothing but width is read"
    spec = {"spec": "mlp:8", "input_shape": list(data.input_shape), "n_outputs": 1}
    nd.save(small, tmp_path / "s.safetensors", data=data, about={"net": spec})
    model = nd.load_model(tmp_path / "s.safetensors")
    rows = pandas.read_csv(table)
    wanted = model.predict(rows)
    pandas.testing.assert_frame_equal(model.predict(rows[["width"]]), wanted)
    rows["colour"] = "mauve"  # no remark: nothing reads it
    pandas.testing.assert_frame_equal(model.predict(rows), wanted)
    with pytest.raises(DataError, match=r"the network needs width$"):
        model.predict(rows[["length"]])
    assert "unread" not in model.use.compact()[KEY]["table"]


def test_cells_of_a_table_as_a_tensor_are_told_of(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {"age": source.normal(45, 12, 60), "income": source.normal(4e4, 9e3, 60)}
    )
    frame["label"] = np.where(frame["income"] > 4e4, "yes", "no")
    data = nd.load_data(frame, target="label")
    family, about = trained(data)
    nd.save(family, tmp_path / "f", data=data, about=about)
    model = nd.load_model(tmp_path / "f")
    model.predict(data.test.x, lam=0.1)
    model.predict(30 * torch.eye(2), lam=0.1)
    cells = torch.tensor(frame[["age", "income"]].to_numpy(), dtype=torch.float32)
    with pytest.warns(UserWarning, match=r"'age' has values about 4.*give a data frame"):
        model.predict(cells, lam=0.1)


def test_images_are_read_as_in_training() -> None:
    x = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4).to(torch.uint8)
    part = nd.Dataset(
        x, torch.tensor([0, 1]), torch.full((3, 1, 1), 10.0), torch.full((3, 1, 1), 0.5)
    )
    pixels = {"image": [3, 4, 4], "shift": [10.0] * 3, "scale": [0.5] * 3}
    data = Splits(
        *("images", "classification", part, part, part, 2, ("cat", "dog"), {"pixels": pixels}, {})
    )
    net = nd.build("linear", input_shape=(3, 4, 4), n_outputs=2)
    from netdial.models.ready import ready

    model: Any = ready(net, use_of(data, net))
    found = model.predict(x.numpy())
    wanted = model(part.inputs()).softmax(1)[:, 1].detach().numpy()
    np.testing.assert_allclose(found["probability of dog"], wanted, rtol=1e-5)
    with pytest.raises(ShapeError, match=r"expected uint8 \[B, 3, 4, 4\]"):
        model.predict(x[:, :, :2].numpy())
    same = model.predict(part.inputs().numpy())
    np.testing.assert_allclose(same["probability of dog"], wanted, rtol=1e-5)
    for otherwise in (x / 255, x.float(), (x.double() * 9 - 100).numpy()):
        with pytest.raises(DataError, match=r"takes pixels .* from -5 to 122; give them as uint8"):
            model.predict(otherwise)


def test_a_model_that_does_not_say_how_it_is_used_asks_for_it(tmp_path: Path) -> None:
    family = nd.Family(nd.build("mlp:4", input_shape=(3,), n_outputs=2))
    nd.save(family, tmp_path / "f")
    model = nd.load_model(tmp_path / "f", nd.build("mlp:4", input_shape=(3,), n_outputs=2))
    with pytest.raises(ConfigError, match=r"nd\.save\(.*data="):
        model.predict(torch.zeros(2, 3), lam=1.0)


def test_errors_between_two_values_are_interpolated_in_logarithms() -> None:
    task = {"name": "regression"}
    rows = (ErrorLaw(lam=0.01, variance=(1.0,)), ErrorLaw(lam=1.0, variance=(4.0,)))
    use = Use(task=task, noise=rows)
    found = [use.variance(lam) for lam in (0.001, 0.1, 10.0)]
    np.testing.assert_allclose([v[0] for v in found if v is not None], [1, 2, 4])
    again = Use.model_validate(use.to_json()[KEY])
    assert again == use


@pytest.mark.parametrize("target", ["species", "price"])
def test_a_compact_use_reads_rows_alike(tmp_path: Path, target: str) -> None:
    data = nd.load_data(str(flowers(tmp_path)), target=target)
    net = nd.build("mlp:3", input_shape=data.input_shape, n_outputs=data.n_outputs)
    use = use_of(data, net)
    small = use.compact()
    found = Use.model_validate(small[KEY])
    assert len(str(small)) < 0.75 * len(str(use.to_json()))
    assert (
        found.table is not None and use.table is not None and found.table.names == use.table.names
    )
    assert found.table != use.table and is_read_alike(found.table, use.table)
    first, *rest = use.table.inputs
    moved = use.table.model_copy(
        update={"inputs": (first.model_copy(update={"mean": 1 + first.mean}), *rest)}
    )
    assert not is_read_alike(found.table, moved)
    frame = use.table.read_file(tmp_path / "flowers.csv")
    torch.testing.assert_close(
        found.table.encode(frame), use.table.encode(frame), rtol=1e-5, atol=1e-5
    )
    if target == "price":
        one, other = found.law(None), use.law(None)
        assert one is not None and other is not None
        np.testing.assert_allclose(one.half_width(0.9), other.half_width(0.9), rtol=1e-5)


def test_predictions_of_a_percent_are_said_to_be_hundredths(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"x": np.arange(60) % 7, "y": [f"{i % 7 + 0.5}%" for i in range(60)]})
    data = nd.load_data(frame, target="y")
    family = nd.fit(nn.Linear(1, 1), data.train, epochs=1)
    nd.save(family, tmp_path / "m", lam=1.0, data=data)
    model = nd.load_model(tmp_path / "m", nn.Linear(1, 1))
    with pytest.warns(UserWarning, match="'y': hundredths, as training had % there"):
        found = model.predict(frame)
    assert found["y"].abs().max() < 0.5  # not in percent, 0.5 to 6.5


def test_outputs_under_a_loss_of_ones_own_are_not_called_probabilities(tmp_path: Path) -> None:
    data = nd.load_data("wine")
    net = nd.build("mlp:4", input_shape=(13,), n_outputs=3)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    family = nd.fit(net, data.train, loss=loss, epochs=1)
    nd.save(family, tmp_path / "net.safetensors", lam=1.0, data=data)
    x = data.test.inputs()[:3]
    found = nd.load_model(tmp_path / "net.safetensors").predict(x)
    out = family.export(1.0)(x).detach()
    assert list(found)[1:] == [f"output for {name}" for name in data.classes]
    np.testing.assert_allclose(found.iloc[:, 1:].to_numpy(), out.numpy(), rtol=1e-5)
    assert list(found.iloc[:, 0]) == [data.classes[k] for k in out.argmax(1).tolist()]


def test_a_family_is_not_saved_with_data_in_other_units_than_it_was_trained_on(
    tmp_path: Path,
) -> None:
    mine, other = (nd.load_data("diabetes", seed=seed) for seed in (0, 1))
    net = nd.build("linear", input_shape=(10,), n_outputs=1)
    family = nd.fit(net, mine.train, epochs=1)
    with pytest.raises(ConfigError, match=r"diabetes: its targets were standardised by other"):
        nd.save(family, tmp_path / "family.safetensors", data=other)
    assert nd.save(family, tmp_path / "family.safetensors", data=mine).kind == "family"


@pytest.mark.parametrize("rows", [7, 8])
def test_intervals_are_told_where_rows_enough_were_held_out_and_nowhere_else(rows: int) -> None:
    source = np.random.default_rng(0)
    frame = pandas.DataFrame({"a": source.normal(size=40), "y": source.normal(size=40)})
    held = pandas.DataFrame({"a": source.normal(size=rows), "y": source.normal(size=rows)})
    data = nd.load_data(frame, target="y", valid=held)
    net = nd.build("linear", input_shape=(1,), n_outputs=1)
    family = nd.fit(net, data.train, data.valid, epochs=1)
    known = use_of(data, family).law(0.1)
    assert (known is not None) == (rows == 8)
    assert (family.task is not None and family.task.at(0.1).noise_var != ()) == (rows == 8)  # type: ignore[attr-defined]
    (target,) = Sketcher(family, data)._part(0.1, torch.zeros(rows, 1), data.valid.y).targets
    assert bool(target.coverage) == (rows == 8)


@pytest.mark.parametrize("target", ["probability of no", "price low", "price,price low"])
def test_targets_keep_their_column_whatever_the_others_are_called(
    tmp_path: Path, target: str
) -> None:
    """What stands beside a target never has its name: of two columns alike, only one would be left."""
    source = np.random.default_rng(0)
    frame = pandas.DataFrame({"x": source.normal(size=60), "price": source.normal(100, 9, 60)})
    frame["price low"] = source.normal(-5, 1, 60)
    frame["probability of no"] = np.where(frame.x > 0, "yes", "no")
    data = nd.load_data(frame, target=target)
    family, about = trained(data)
    nd.save(family, tmp_path / "family.safetensors", about=about, data=data)
    model = nd.load_model(tmp_path / "family.safetensors")
    found = model.predict(frame, lam=1.0)
    expected = data.schema.decode(family.export(1.0)(data.schema.encode(frame)))
    if data.kind == "classification":
        assert found[target].tolist() == expected
        assert list(found) == [target, "probability of no.1", "probability of yes"]
    else:
        names = target.split(",")
        np.testing.assert_allclose(found[names], expected.detach(), rtol=1e-5)
        assert len(found.columns) == 3 * len(names)
