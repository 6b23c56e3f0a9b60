"""What paths, surfaces and families show of themselves in Python: figures whose numbers are theirs, tables that are escaped."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import netdial as nd
from netdial.core.layout import carrying
from netdial.report.plots import html_table, surface_plot


@pytest.fixture(scope="module", params=["l1", "ard"])
def family(request: pytest.FixtureRequest) -> nd.Family:
    net = nd.build("mlp:6", input_shape=(13,), n_outputs=3)
    made = nd.Family(
        net,
        nd.FamilyConfig(
            lo=0.01,
            hi=10,
            objective=request.param,
            posterior="point" if request.param == "l1" else "normal",
        ),
    )
    with torch.no_grad():
        for table in made.parameters():
            table.add_(0.1 * torch.randn(table.shape, generator=torch.Generator().manual_seed(0)))
    return made


def figure(made: Any) -> Any:
    return json.loads(made.to_json())


def test_surfaces_draw_what_they_hold(family: nd.Family) -> None:
    data = nd.load_data("wine")
    found = nd.surface(family, data.valid, lams=3, shares=(0.0, 0.5, 0.9))
    [cells, line] = figure(found.plot(split="valid"))["data"]
    assert cells["z"] == pytest.approx(found.metrics["accuracy"].T.numpy(), rel=1e-6)
    best = [found.lams.index(one.lam) for one in found.best()]
    assert line["x"] == best
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + len(found.best())
    assert len(str(found).splitlines()) == 2 + len(found.best())
    assert repr(found).startswith("Surface(3 values of λ, 3 shares removed, ")


def test_no_part_of_the_data_is_named_that_nobody_told(family: nd.Family) -> None:
    data = nd.load_data("wine")
    found = nd.surface(family, data.valid, lams=3, shares=(0.0, 0.5, 0.9))
    path = nd.evaluate(family, data.valid, lams=3)
    for made in (found.plot(), path.plot()):
        assert "test" not in json.dumps(figure(made)).lower()
    assert found.plot().layout.annotations[0].text.startswith("<b>Accuracy · line")
    assert path.plot().data[0].name == "mean weights"
    assert "Validation accuracy" in json.dumps(figure(found.plot(split="valid")))
    assert path.plot(split="test").data[0].name == "test, mean weights"


def test_layers_over_lambda(family: nd.Family) -> None:
    made = figure(family.plot_layers(3))
    assert [trace["name"] for trace in made["data"]] == ["fc1", "fc2"]
    lam = family.lams(3)[1]
    sizes = [13 * 6 + 6, 6 * 3 + 3]
    if family.is_random:
        whole = sum(t["y"][1] * n for t, n in zip(made["data"], sizes, strict=True))
        with torch.no_grad():
            assert whole == pytest.approx(float(family.effective_parameters([lam])), rel=1e-4)
    else:
        layer = family.export(lam).get_submodule("fc1")
        kept = carrying(torch.cat([layer.weight.flatten(), layer.bias.flatten()]))
        assert made["data"][0]["y"][1] == pytest.approx(kept / sizes[0])


def test_paths_are_tables_in_notebooks(family: nd.Family) -> None:
    path = nd.evaluate(family, nd.load_data("wine").valid, lams=4, n_samples=2)
    html = path._repr_html_()
    assert html.count("<tr>") == 5
    assert "accuracy" in html
    lines = str(path).splitlines()
    assert len(lines) == 6
    assert len({len(line) for line in lines[1:]}) == 1
    assert figure(path.plot())["data"][0]["x"][0] == pytest.approx(0.01)


def test_names_in_tables_and_maps_stay_text() -> None:
    html = html_table([{"<b>": "<script>", "x": float("nan")}] * 50, "<i>")
    assert "<script>" not in html
    assert "<b>" not in html
    assert html.count("<tr>") == 41
    cells = [{"lam": lam, "share": s, "rmse": lam} for lam in (1.0, 2.0) for s in (0.0, 0.5)]
    assert figure(surface_plot(cells, "rmse", "rmse", "test"))["data"][0]["z"] == [[1, 2], [1, 2]]


@pytest.mark.slow
def test_every_main_result_is_short_and_a_table_in_notebooks() -> None:
    wine = nd.load_data("wine")
    net = nd.build("mlp:6", input_shape=(13,), n_outputs=3)
    one = nd.fit(net, wine.train, wine.valid, epochs=1)
    small = nd.slim(one.export(0.1), share=0.5, example=wine.train.x[:2])
    shrunk = nd.shrink(net, wine.train, wine.valid, epochs=1, lam=0.1)
    whole = nd.cross_validate(net, wine.train, folds=2, lams=3, epochs=1)
    packed = nd.compress(one, wine.train, wine.valid, lam=0.1, epochs=1, tuning=0, max_bytes=900)
    rows = {"Family": 1, "Pruned": 1, "Shrunk": 1, "CrossValidated": 3, "Compressed": 4}
    for found in (one, small, shrunk, whole, packed):
        name = type(found).__name__
        html = found._repr_html_()
        assert html.startswith("<table><caption>")
        assert html.count("<tr>") >= 1 + rows[name], name
        assert name == "Family" or len(repr(found)) < 200, name
        assert repr(found).startswith(f"{name}(")
    assert "λ: 0.01 to 10, objective: l1" in repr(one)
    for short, facts in (
        (wine, "wine: classification, inputs [13], 3 classes; examples: train 106"),
        (whole.path, "3 members"),
    ):
        assert len(repr(short)) < 200 and facts in repr(short)
