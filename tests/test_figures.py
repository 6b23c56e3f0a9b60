"""Numbers in the documents: what README and the summary of the log state is in the log, with a command that prints it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from netdial.papers import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.__main__ import modules
finally:
    sys.path.remove(str(ROOT))

COMMANDS = {f"python -m benchmarks {name}" for name in modules()} | {
    f"netdial reproduce {name}" for name in EXPERIMENTS
}
LOG = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
FIGURES: list[dict[str, Any]] = json.loads(
    (ROOT / "docs" / "figures.json").read_text(encoding="utf-8")
)["figures"]
NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?|\.\d+)(?:e-?\d+)?")


def between(text: str, mark: str) -> str:
    """Returns what stands between the begin and the end of a mark."""
    return text.split(f"<!-- {mark}: begin -->")[1].split(f"<!-- {mark}: end -->")[0]


def numbers(text: str) -> set[float]:
    """Returns the numbers of a text; dates and targets of links are none."""
    text = re.sub(r"\d{4}-\d{2}-\d{2}|\]\([^)]*\)", " ", text)
    return {float(word.replace(",", "")) for word in NUMBER.findall(text)}


def entries(date: str) -> str:
    """Returns the entries of the log of one day."""
    parts = between(LOG, "entries").split("\n## ")
    return "\n".join(part for part in parts if part.startswith(date))


def known(values: set[float], where: set[float]) -> bool:
    """Whether every value is there, as it is or as a fraction where it is a percentage."""
    return all(any(round(value / by, 8) in where for by in (1, 100)) for value in values)


def values(figure: dict[str, Any]) -> set[float]:
    """Returns the measured numbers of a figure: cells of its table, and what is said beside it."""
    cells = [cell for row in figure["table"][1:] for cell in row[1:]]
    return numbers(" ".join([*cells, *figure["said"].values()]))


def tables(text: str) -> list[list[list[str]]]:
    """Returns the tables of a page, without the line below the heading."""
    found = re.findall(r"^\|.*?(?=\n\n|\Z)", text, re.S | re.M)
    rows = [[line for line in table.splitlines() if "|---" not in line] for table in found]
    return [
        [[cell.strip() for cell in row.strip("|").split("|")] for row in lines] for lines in rows
    ]


def block() -> str:
    return between((ROOT / "README.md").read_text(encoding="utf-8"), "figures")


def test_numbers_are_found_in_a_text() -> None:
    text = "λ = .001: -0.5, 9.6e-11 and 2,000 of 12.4 % on 2026-11-21, [784](785.md)"
    assert numbers(text) == {0.001, -0.5, 9.6e-11, 2000, 12.4, 784}
    assert known({96.52, 3.0}, {0.9652, 3.0})
    assert not known({96.52}, {0.9653})


def test_the_tables_of_the_readme_are_those_of_the_figures() -> None:
    assert tables(block()) == [figure["table"] for figure in FIGURES if figure["table"]]


def test_every_number_of_the_readme_is_in_the_figures_and_every_figure_in_the_readme() -> None:
    text = " ".join(block().split())
    stated = set().union(
        *(
            values(f) | numbers(f["setting"]) | numbers(" ".join(map(" ".join, f["table"])))
            for f in FIGURES
        )
    )
    assert numbers(text) - stated == set()
    for figure in FIGURES:
        assert values(figure) <= numbers(text), figure["name"]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure["name"])
def test_a_figure_of_the_readme_has_a_command_a_date_and_an_entry(figure: dict[str, Any]) -> None:
    assert figure["command"] in COMMANDS
    assert figure["command"] in block()
    assert figure["date"] in block()
    assert len(figure["seeds"]) == len(set(figure["seeds"])) > 0
    entry = numbers(entries(figure["date"]))
    missing = {value for value in values(figure) if not known({value}, entry)}
    assert not missing


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure["name"])
def test_a_choice_made_on_the_results_is_said_beside_the_figure(figure: dict[str, Any]) -> None:
    assert figure["chosen"] in " ".join(block().split())


def test_what_was_found_on_test_data_is_known() -> None:
    told = {figure["name"]: figure["chosen"] for figure in FIGURES if figure["chosen"]}
    assert "test accuracy of seed 0" in told["mnist-table1"]


def summary() -> list[list[str]]:
    (table,) = tables(between(LOG, "summary"))
    assert table[0] == ["figure", "value", "date", "command"]
    return table[1:]


@pytest.mark.parametrize("row", summary(), ids=lambda row: row[0])
def test_a_row_of_the_summary_is_in_the_entries_of_its_date(row: list[str]) -> None:
    _, value, date, command = row
    assert command.strip("`") in COMMANDS
    assert numbers(value)
    assert known(numbers(value), numbers(entries(date)))
    name = command.strip("`").split()[-1]
    assert f"{name}`" in entries(date), f"no entry of {date} names {name}"


def test_every_figure_with_an_entry_is_in_the_summary_and_the_log_is_newest_first() -> None:
    headings = [line for line in LOG.splitlines() if re.match(r"## \d{4}-", line)]
    measured = set(re.findall(r"`([a-z0-9-]+)`", "\n".join(headings))) & modules().keys()
    assert len(measured) > 10
    assert measured <= {row[3].strip("`").split()[-1] for row in summary()}
    days = [heading[3:13] for heading in headings]
    assert days == sorted(days, reverse=True)
