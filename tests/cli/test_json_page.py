"""``docs/json.md`` lists the keys that each command prints with ``--json``, no more and no fewer."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import SMALL, Call

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"
OF_POINTS = {"members[].norm"}
OF_POSTERIORS = {"members[].kl_bits", "members[].effective_parameters"}


def tables() -> dict[str, dict[str, bool]]:
    """Returns heading -> key -> whether it is always there; the first table below each heading."""
    found: dict[str, dict[str, bool]] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading = section.splitlines()[0].strip("` ")
        first = re.search(r"^\|.*?(?=\n\n|\Z)", section, re.S | re.M)
        assert first, heading
        rows = [line.split("|") for line in first[0].splitlines()[2:]]
        found[heading] = {
            key: not row[2].strip().startswith("Only")
            for row in rows
            for key in re.findall(r"`([^`]+)`", row[1])
        }
    return found


def values(answer: Any, path: str) -> list[Any]:
    """Returns what a documented key such as ``members[].lam`` stands for, in every object of a list."""
    here = [answer]
    for step in path.split("."):
        here = [value[step.removesuffix("[]")] for value in here]
        if step.endswith("[]"):
            here = [item for items in here for item in items]
    return here


def check(heading: str, answer: dict[str, Any], without: set[str] = OF_POINTS) -> None:
    """Compares an answer with its table; ``without`` are keys of what this family is not."""
    keys = tables()[heading]
    top = {key: always for key, always in keys.items() if "." not in key}
    assert set(answer) <= set(top), f"{heading}: not on the page"
    assert {key for key, always in top.items() if always} <= set(answer), f"{heading}: not printed"
    for key in set(keys) - set(top):
        if key in without:
            with pytest.raises(KeyError):
                values(answer, key)
        else:
            assert values(answer, key), f"{heading}: {key}"


@pytest.fixture
def runs(wine: Path, tmp_path: Path) -> Path:
    """A copy of the run on wine, of normal posteriors, in ``runs`` of the working folder."""
    shutil.copytree(wine, tmp_path / "runs" / "wine")
    return tmp_path / "runs"


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "evaluate wine --points 2 --samples 1",
        "prune wine --points 2 --shares 0,0.5 --samples 1",
        "evidence wine --lams 1 --samples 2",
        "choose wine",
        "finetune wine --lam 1 --epochs 1",
        "export wine --lam 1",
        "inspect wine",
        "report wine",
        "list",
        "doctor",
        "reproduce",
    ],
)
def test_the_page_has_the_keys_of_a_command(line: str, call: Call, runs: Path) -> None:
    told = call(*line.split(), "--json")
    assert told.code == 0, told.err
    check("netdial " + line.split()[0], json.loads(told.out))


@pytest.mark.parametrize(
    "line", ["evaluate wine --points 2", "prune wine --points 2", "choose wine"]
)
def test_the_page_has_the_keys_of_points(
    line: str, call: Call, points: Path, tmp_path: Path
) -> None:
    shutil.copytree(points, tmp_path / "runs" / "wine")
    told = call(*line.split(), "--json")
    assert told.code == 0, told.err
    check("netdial " + line.split()[0], json.loads(told.out), without=OF_POSTERIORS)


def test_the_page_has_the_keys_of_removing_channels(call: Call, runs: Path) -> None:
    told = call("slim", "wine", "--lam", "0.01", "--json")
    assert told.code == 0, told.err
    check("netdial slim", json.loads(told.out))


@pytest.mark.slow
def test_the_page_has_the_keys_of_compressing(call: Call, runs: Path) -> None:
    told = call(
        *[
            "compress",
            "wine",
            "--max-bytes",
            "1700",
            "--epochs",
            "1",
            "--tuning",
            "0",
            "--lengths",
            "--seeds",
            "1",
            "--json",
        ]
    )
    assert told.code == 0, told.err
    check("netdial compress", json.loads(told.out))


@pytest.mark.slow
def test_the_page_has_the_keys_of_training_and_of_predicting(call: Call, tmp_path: Path) -> None:
    rows = "\n".join(f"{i / 40},{'ab'[i % 2]},{'yes' if i > 20 else 'no'}" for i in range(40))
    (tmp_path / "rows.csv").write_text("size,kind,bought\n" + rows + "\n")
    asked = ("fit", "rows.csv", "--target", "bought", *SMALL, "--quiet", "--json")
    told = call(*asked, "--objective", "ard", "--name", "normal")
    assert told.code == 0, told.err
    check("netdial fit", json.loads(told.out))
    told = call(*asked)
    assert told.code == 0, told.err
    answer = json.loads(told.out)
    check("netdial fit", answer, without=OF_POSTERIORS)
    assert {"columns", "notes"} <= answer.keys()
    told = call("predict", "rows", "rows.csv", "--json")
    assert told.code == 0, told.err
    check("netdial predict", json.loads(told.out))


def test_the_page_has_the_keys_of_shrinking(call: Call) -> None:
    told = call("shrink", "wine", "--model", "mlp:4", "--epochs", "2", "--quiet", "--json")
    assert told.code == 0, told.err
    check("netdial shrink", json.loads(told.out))


@pytest.mark.parametrize("line", ["evaluate nowhere", "fit wine --epohcs 3"])
def test_the_page_has_the_keys_of_an_error(line: str, call: Call) -> None:
    told = call(*line.split(), "--json")
    assert told.code == 2
    check("When a command fails", json.loads(told.out))


def test_every_command_has_a_section(call: Call) -> None:
    help_text = call("--help").out
    listed = re.findall(r"^  ([a-z]+) {2,}\S", help_text.partition("Commands:")[2], re.M)
    assert len(listed) >= 13
    assert {f"netdial {name}" for name in listed} <= tables().keys()
