"""What commands print: tables keep their labels wherever they are shown, errors are JSON where JSON is asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from netdial.cli.output import console, file_size, print_table
from netdial.cli.progress import Lines
from netdial.jobs.records.watch import FinishedEpoch

from .conftest import Call

SHARES = [f"{share} %" for share in (0, 25, 50, 60, 70, 75, 80, 85, 90, 92, 95, 97, 98, 99)]


@pytest.mark.parametrize(("beside", "said"), [(0, "3 bytes"), (4, "7 bytes with a.json")])
def test_a_size_names_the_file_that_it_counts_besides(
    beside: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"abc")
    assert file_size(path, 3 + beside) == said
    assert file_size(tmp_path, 900) == "900 bytes"


def wide_table() -> Table:
    table = Table(title="Accuracy", header_style="bold")
    table.add_column("λ", justify="right")
    for share in SHARES:
        table.add_column(share, justify="right")
    for lam in ("0.001", "14.7", "100"):
        table.add_row(lam, *["97.22 %"] * len(SHARES))
    return table


@pytest.mark.parametrize("width", [60, 100, 400])
def test_a_table_is_shown_whole_with_its_labels_at_any_width(width: int) -> None:
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    print_table(screen, wide_table())
    lines = screen.file.getvalue().splitlines()
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    blocks = text.count("λ")
    assert blocks == {60: 3, 100: 2, 400: 1}[width]
    assert all(text.count(lam) == blocks for lam in ("0.001", "14.7"))
    assert all(share in text for share in SHARES)
    assert text.count("97.22 %") == 3 * len(SHARES)


def test_a_long_text_is_wrapped_and_a_label_is_not() -> None:
    table = Table("name", "what it is")
    table.add_row("a-name-of-some-length", "words and words and words " * 8)
    screen = Console(file=io.StringIO(), width=60, highlight=False)
    print_table(screen, table)
    lines = screen.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert "a-name-of-some-length" in screen.file.getvalue()
    assert screen.file.getvalue().count("words") == 24


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("", 100)])
def test_output_that_is_no_terminal_is_as_wide_as_said(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert console().width == width


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("evaluate", "nowhere", "--json"), "CheckpointError"),
        (("fit", "wines", "--json"), "ConfigError"),
        (("fit", "wine", "--epoch", "3", "--json"), "NoSuchOption"),
    ],
)
def test_an_error_is_an_object_under_json(call: Call, words: tuple[str, ...], kind: str) -> None:
    said = call(*words)
    assert said.code == 2
    found = json.loads(said.out)
    assert found.keys() == {"error", "type", "code"}
    assert (found["type"], found["code"]) == (kind, 2)
    assert said.line == f"netdial: {found['error']}"


def test_lines_of_progress_say_how_long_it_will_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([0.0, 10.0, 20.0, 90.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    lines = Lines()
    for epoch in (1, 2, 3, 10):
        lines.epoch(FinishedEpoch(epoch, 10, ("fit 1.0000",)))
    said = capsys.readouterr().err.splitlines()
    assert "left" not in said[0]
    assert said[1].endswith("1 min 20 s left")
    assert said[2].endswith("1 min 10 s left")
    assert "left" not in said[3]
