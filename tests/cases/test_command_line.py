"""The command line: labels in narrow terminals, JSON, predictions for new rows, and words for mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import netdial as nd
from netdial.core.errors import NetdialError

from .situations import command, refused, right

SMALL = ("--model", "linear", "--epochs", 2, "--points", 3, "--samples", 0, "--quiet")


def table(folder: Path) -> pd.DataFrame:
    random = np.random.default_rng(0)
    size = random.normal(10, 3, 90).round(3)
    frame = pd.DataFrame({"size": size, "colour": random.choice(["red", "NA", "blue"], 90)})
    frame["kind"] = np.where(size > 10, "big", "small")
    frame.to_csv(folder / "rows.csv", index=False)
    return frame


def fitted(folder: Path) -> pd.DataFrame:
    frame = table(folder)
    command(folder, "fit", "rows.csv", "--target", "kind", "--name", "r", *SMALL)
    return frame


@pytest.mark.slow
@right
def test_predictions_of_a_table_are_a_table(tmp_path: Path) -> None:
    """``predict`` of a run and of an exported member: one line a row, class names, probabilities that add up to 1."""
    fitted(tmp_path)
    command(tmp_path, "export", "r", "--lam", 0.1, "--out", "m.safetensors")
    by_run = command(tmp_path, "predict", "r", "rows.csv", "--lam", 0.1)[0]
    assert command(tmp_path, "predict", "m.safetensors", "rows.csv")[0] == by_run
    lines = [line.split(",") for line in by_run.splitlines()]
    assert lines[0] == ["kind", "probability of big", "probability of small"] and len(lines) == 91
    assert all(abs(float(line[1]) + float(line[2]) - 1) < 1e-4 for line in lines[1:])
    assert all(line[0] == ("big" if float(line[1]) > 0.5 else "small") for line in lines[1:])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classes", "numbers"])
@right
def test_whatever_a_command_writes_predicts(tmp_path: Path, task: str) -> None:
    """``predict`` with what fit, slim, export, choose, finetune and shrink wrote: a line for every row, and how many."""
    frame = table(tmp_path)
    if task == "numbers":
        frame.assign(kind=3 * frame["size"] + 100).to_csv(tmp_path / "rows.csv", index=False)
    data = ("rows.csv", "--target", "kind", "--model", "mlp:6", "--epochs", 2, "--quiet")
    command(tmp_path, "fit", *data, "--name", "r", "--points", 2, "--samples", 0)
    command(tmp_path, "shrink", *data, "--name", "small")
    command(tmp_path, "prune", "r", "--points", 2, "--samples", 0)
    for name in ("slim", "export", "choose", "finetune"):
        lam = () if name == "choose" else ("--lam", 0.1)
        command(tmp_path, name, "r", *lam, "--out", f"{name}.safetensors")
    written = [f"{name}.safetensors" for name in ("slim", "export", "choose", "finetune")]
    families = {"r", "runs/r/model"}
    for model in (*families, *written, "small", "runs/small/model"):
        lam = ("--lam", 0.1) if model in families else ()
        lines = command(tmp_path, "predict", model, "rows.csv", *lam)[0].splitlines()
        assert lines[0].split(",")[0] == "kind" and len(lines) == 91
        if task == "numbers":
            low, high = min(frame["size"]) * 3 + 100, max(frame["size"]) * 3 + 100
            assert all(low - 30 < float(line.split(",")[0]) < high + 30 for line in lines[1:])


@right
def test_what_a_shrunken_network_is_worth_is_in_units_and_beside_a_constant(tmp_path: Path) -> None:
    """RMSE of targets with a spread of 3,000 is of that size; that of a constant is known and on the page."""
    frame = table(tmp_path)
    frame.assign(kind=1000 * frame["size"]).to_csv(tmp_path / "rows.csv", index=False)
    data = ("rows.csv", "--target", "kind", "--model", "mlp:6", "--epochs", 2, "--quiet", "--json")
    told = json.loads(command(tmp_path, "shrink", *data, "--name", "small")[0])
    assert 1000 < told["constant"]["valid/rmse"] < 6000
    assert 100 < told["scores"]["valid/rmse"] < 12000
    assert "A constant" in Path(tmp_path / told["report"]).read_text()


@refused("netdial slim")
def test_channels_are_looked_for_in_prune(tmp_path: Path) -> None:
    """``netdial prune --structured`` says which command removes whole channels."""
    command(tmp_path, "prune", "r", "--structured")


@right
def test_columns_in_another_order_and_without_the_target(tmp_path: Path) -> None:
    """The same rows with their columns turned round, a further one and no target: the same predictions."""
    frame = fitted(tmp_path)
    frame[["colour", "size"]].assign(further=1).to_csv(tmp_path / "new.csv", index=False)
    new = command(tmp_path, "predict", "r", "new.csv", "--lam", 0.1)[0]
    assert new == command(tmp_path, "predict", "r", "rows.csv", "--lam", 0.1)[0]


@right
def test_an_unseen_category_is_said(tmp_path: Path) -> None:
    """A colour that training did not show: predicted as none of the known, and named."""
    frame = fitted(tmp_path)
    frame.loc[0, "colour"] = "mauve"
    frame.to_csv(tmp_path / "new.csv", index=False)
    out, err = command(tmp_path, "predict", "r", "new.csv")
    assert len(out.splitlines()) == 91 and "mauve" in err


@refused("'size'")
def test_a_column_that_is_missing(tmp_path: Path) -> None:
    """New rows without a column that the model needs."""
    fitted(tmp_path).drop(columns="size").to_csv(tmp_path / "new.csv", index=False)
    command(tmp_path, "predict", "r", "new.csv")


@pytest.mark.slow
@right
def test_tables_keep_their_labels_in_a_narrow_terminal(tmp_path: Path) -> None:
    """``evaluate`` and ``prune`` at 60 columns and in a pipe: every λ of the grid stands there whole."""
    fitted(tmp_path)
    for words in (("evaluate", "r", "--points", 3), ("prune", "r", "--points", 3)):
        for columns in (60, 120):
            out = command(tmp_path, *words, columns=columns)[0]
            for lam in ("0.01", "0.316", "10"):
                assert lam in out, (words, columns, lam)
            assert "…" not in out


@right
def test_json_is_one_object_and_nothing_else(tmp_path: Path) -> None:
    """``--json`` of fit, evaluate, list and predict can be read by a program."""
    table(tmp_path)
    done = json.loads(
        command(tmp_path, "fit", "rows.csv", "--target", "kind", "--name", "r", *SMALL, "--json")[0]
    )
    assert len(done["members"]) == 3 and done["headline"]["lam"] > 0
    assert json.loads(command(tmp_path, "evaluate", "r", "--json")[0])["kind"] == "classification"
    assert json.loads(command(tmp_path, "list", "--json")[0])["runs"][0]["name"] == "r"
    told = json.loads(command(tmp_path, "predict", "r", "rows.csv", "--json")[0])
    assert told["rows"] == 90 == len(told["predictions"])


@right
def test_an_error_under_json_is_json(tmp_path: Path) -> None:
    """A mistyped target under ``--json``: an object with the message, its type and the exit code 2."""
    import contextlib
    import io

    from netdial.cli import main

    table(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main(
            [
                "fit",
                str(tmp_path / "rows.csv"),
                "--target",
                "kin",
                "--json",
                "--runs-dir",
                str(tmp_path),
            ]
        )
    told = json.loads(out.getvalue())
    assert code == told["code"] == 2 and told["type"] == "DataError" and "'kind'" in told["error"]


@right
def test_how_each_column_was_read_is_said(tmp_path: Path) -> None:
    """``fit`` names each column and what it was taken for, also the one that it leaves out."""
    table(tmp_path).assign(id=range(1000, 1090)).to_csv(tmp_path / "rows.csv", index=False)
    words = [w for w in SMALL if w != "--quiet"]
    err = command(tmp_path, "fit", "rows.csv", "--target", "kind", *words)[1]
    said = {line.split()[0]: line for line in err.splitlines() if len(line.split()) > 1}
    assert "number" in said["size"] and "category" in said["colour"] and "target" in said["kind"]
    assert "left out" in said["id"]


@refused("did you mean", "--epochs")
def test_a_mistyped_option(tmp_path: Path) -> None:
    """``--epoch``."""
    command(tmp_path, "fit", "wine", "--epoch", 3)


@refused("did you mean 'wine'")
def test_a_mistyped_data_set(tmp_path: Path) -> None:
    """``vine``."""
    command(tmp_path, "fit", "vine")


@refused("mlp")
def test_a_network_that_does_not_exist(tmp_path: Path) -> None:
    """``--model mpl:6``."""
    command(tmp_path, "fit", "wine", "--model", "mpl:6", "--quiet")


@refused("outside the trained range")
def test_a_complexity_that_was_not_trained(tmp_path: Path) -> None:
    """``export --lam 1e9``."""
    fitted(tmp_path)
    command(tmp_path, "export", "r", "--lam", 1e9)


@refused("lr")
def test_a_learning_rate_without_end(tmp_path: Path) -> None:
    """``--lr inf``."""
    command(tmp_path, "fit", "wine", *SMALL, "--lr", "inf")


@refused("not a netdial file")
def test_a_table_in_place_of_a_model(tmp_path: Path) -> None:
    """``predict rows.csv rows.csv``."""
    table(tmp_path)
    command(tmp_path, "predict", "rows.csv", "rows.csv")


@pytest.mark.slow
@right
def test_a_file_that_ends_in_onnx_is_one(tmp_path: Path) -> None:
    """``export --out m.onnx``: the ending says the format, as it does in ``nd.save``."""
    pytest.importorskip("onnx")
    fitted(tmp_path)
    command(tmp_path, "export", "r", "--lam", 0.1, "--out", "m.onnx")
    assert nd.inspect(tmp_path / "m.onnx").summary == "an ONNX graph"


@refused("lam=1e+09", "[0.01, 10]")
def test_predictions_outside_the_trained_range(tmp_path: Path) -> None:
    """``predict --lam 1e9``: the range is named, and nothing is said against the rows."""
    fitted(tmp_path)
    with pytest.raises(NetdialError) as found:
        command(tmp_path, "predict", "r", "rows.csv", "--lam", 1e9)
    assert "rows as inputs" not in str(found.value)
    raise found.value


@pytest.mark.slow
@right
def test_every_section_of_a_report_shows_the_constant(tmp_path: Path) -> None:
    """Members, removed weights, removed channels: a row "a constant" in each table, and evidence at as many λ as asked for."""
    table(tmp_path)
    data = ("rows.csv", "--target", "kind", "--model", "mlp:6", "--epochs", 2, "--quiet")
    short = ("--points", 2, "--samples", 0)
    command(tmp_path, "fit", *data, "--name", "r", "--objective", "scaled-kl", *short)
    command(tmp_path, "slim", "r", "--lam", 0.1)
    command(tmp_path, "prune", "r", "--points", 2, "--samples", 0)
    told = json.loads(
        command(tmp_path, "evidence", "r", "--by", "elbo", "--points", 2, "--json")[0]
    )
    assert len(told["estimates"]) == 2
    page = (tmp_path / "runs" / "r" / "report.html").read_text()
    assert page.count('<th scope="row">a constant') == 3
