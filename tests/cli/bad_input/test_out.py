"""``--out``: a place where nothing can be written is refused before the work that is to be written there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from netdial.core.errors import WriteError
from netdial.core.storage.files import check_writable

from ..conftest import Call

LONG = {
    "compress": ("netdial.jobs.analyses.compressed.compress", ["--lam", "1", "--max-bytes", "900"]),
    "slim": ("netdial.jobs.analyses.slimmed.member_of", ["--lam", "1"]),
    "finetune": ("netdial.jobs.analyses.tuned.finetune", ["--lam", "1"]),
    "choose": ("netdial.jobs.analyses.chosen.choose_run", []),
    "latency": ("netdial.jobs.search.latency.measured", []),
}
"""Commands that work long before they write: what does the work, and other arguments."""


@pytest.mark.parametrize("command", list(LONG))
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    command: str, call: Call, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*given: Any, **more: Any) -> None:
        pytest.fail("the work was begun")

    name, words = LONG[command]
    monkeypatch.setattr(name, work)
    run = tmp_path / "run"
    shutil.copytree(points, run)
    (tmp_path / "taken").write_text("a file where a folder should be")
    what = "wine" if command == "latency" else str(run)
    out = "taken/out" if command == "finetune" else "taken/out.ndz"
    told = call(command, what, *words, "--out", out)
    assert told.code == 2
    assert f"{out}: could not be written" in told.err


def test_a_place_that_can_be_written_is_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folders" / "x.ndz")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()
    check_writable(tmp_path / "folder", is_folder=True)
    with pytest.raises(WriteError, match="Is a directory"):
        check_writable(tmp_path / "folder")


MADE = {
    "export": (["export", "{run}", "--lam", "1"], "{name}-lam1.safetensors"),
    "export a program": (
        ["export", "{run}", "--lam", "1", "--format", "torch-export"],
        "{name}-lam1.pt2",
    ),
    "compress": (
        [
            "compress",
            "{run}",
            "--lam",
            "1",
            "--epochs",
            "1",
            "--tuning",
            "0",
            "--max-bytes",
            "2500",
        ],
        "{name}-lam1.ndz",
    ),
    "slim": (["slim", "{run}", "--lam", "1"], "{name}-lam1-small.safetensors"),
    "finetune": (
        ["finetune", "{run}", "--lam", "1", "--epochs", "1"],
        "{name}-lam1-tuned.safetensors",
    ),
    "report": (["report", "{run}", "{other}"], "compare.html"),
}
"""Commands that make up a name: what is asked, and the name."""


@pytest.mark.slow
@pytest.mark.parametrize("command", list(MADE))
def test_a_name_that_is_made_up_is_free(
    command: str, call: Call, points: Path, tmp_path: Path
) -> None:
    """Whatever lies there is left, be it of a first command or of the user."""
    words, name = MADE[command]
    for run in ("run", "other"):
        shutil.copytree(points, tmp_path / run)
    places = {"run": str(tmp_path / "run"), "other": str(tmp_path / "other"), "name": "run"}
    first = Path(name.format(**places))
    first.write_text("mine")
    second = first.with_stem(f"{first.stem}-2")
    if first.suffix == ".safetensors" and command != "slim":
        second.with_suffix(".json").write_text("mine, too")
        second = first.with_stem(f"{first.stem}-3")
    told = call(*[word.format(**places) for word in words])
    assert told.code == 0, told.err
    assert first.read_text() == "mine" and second.is_file()
    assert str(second) in told.out


def test_what_was_named_is_replaced_by_its_own_kind_alone(
    call: Call, points: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(points, run)
    export = ("export", str(run), "--lam", "1", "--out")
    assert call(*export, "one.safetensors").code == 0
    before = Path("one.safetensors").stat().st_ino
    assert call(*export, "one.safetensors").code == 0  # its own kind
    assert Path("one.safetensors").stat().st_ino != before
    family = run / "model" / "family.safetensors"
    shutil.copy(family, "family.safetensors")
    Path("table.csv").write_text("a,b\n1,2\n")
    Path("package.json").write_text('{"name": "mine"}')
    Path("notes.html").write_text("# mine\n")
    for words, name in (
        (export, "family.safetensors"),
        (("export", "family.safetensors", "--lam", "1", "--out"), "family.safetensors"),
        (export, "package.safetensors"),
        ((*export[:-1], "--format", "onnx", "--out"), "table.csv"),
        (("finetune", *export[1:]), "family.safetensors"),
        (("slim", *export[1:]), "table.csv"),
        (("compress", *export[1:]), "table.csv"),
        (("report", str(run), "--out"), "notes.html"),
        (("latency", "wine", "--out"), "package.json"),
    ):
        beside = Path(name.replace("package.safetensors", "package.json"))
        content = beside.read_bytes()
        told = call(*words, name)
        assert told.code == 2, (words, told.out)
        assert name in told.line and "another name" in told.line
        assert beside.read_bytes() == content
    assert call(*export, str(run)).code == 2  # its settings would be those of a member
    assert call("evaluate", str(run)).code == 0


def test_a_link_and_permissions_outlive_what_is_written(
    call: Call, points: Path, tmp_path: Path
) -> None:
    export = ("export", str(points), "--lam", "1", "--out")
    (tmp_path / "Modelle für alle").mkdir()
    there = tmp_path / "Modelle für alle" / "one.pt2"
    assert call(*export, str(there)).code == 0
    there.chmod(0o640)
    Path("latest.pt2").symlink_to(there)
    before = there.stat().st_ino
    assert call(*export, "latest.pt2").code == 0
    assert Path("latest.pt2").is_symlink() and there.stat().st_ino != before
    assert there.stat().st_mode & 0o777 == 0o640
    there.chmod(0o444)
    before = there.stat().st_ino
    told = call(*export, str(there))
    assert told.code == 2 and "protected from writing" in told.line
    assert there.stat().st_ino == before
