"""The figure ``faults`` tells right values, refusals, wrong values, foreign exceptions, hangs and crashes apart."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.faults import faults
finally:
    sys.path.remove(str(ROOT))

SITUATIONS = """
import os, time, warnings
import pytest
from netdial.core.errors import ConfigError
from .situations import refused, right

@right
def holds(): assert 1 + 1 == 2
@right
def does_not_hold(): assert 1 + 1 == 3
@right
def refused_though_right(): raise ConfigError("no")
@refused("lam=3")
def in_words(): raise ConfigError("lam=3; allowed 1 to 2")
@refused("lam=3")
def in_other_words(): raise ConfigError("no")
@refused("lam=3")
def accepted(): pass
@right
def foreign(): raise KeyError("lam")
@refused("lam")
def foreign_in_place_of_a_refusal(): raise KeyError("lam")
@right
def warns(): warnings.warn("careful")
@right
def hangs(): time.sleep(60)
@right
def dies(): os._exit(3)
@right
def takes_a_folder(tmp_path): assert tmp_path.is_dir()
@pytest.mark.parametrize("a", [1, 2])
@pytest.mark.parametrize(("b", "c"), [(1, 2), (3, 4)])
@right
def holds_for_three_of_four(tmp_path, a, b, c): assert a + b + c < 9 and tmp_path.is_dir()
"""


def test_what_becomes_of_situations(tmp_path: Path) -> None:
    (tmp_path / "situations.py").write_text((faults.CASES / "situations.py").read_text())
    file = tmp_path / "test_some.py"
    file.write_text(SITUATIONS)
    found = {str(each["name"]): each for each in faults.run(file, quick=False, limit=3)}
    assert {name: each["outcome"] for name, each in found.items()} == {
        **dict.fromkeys(("holds", "takes_a_folder"), "right"),
        **{f"holds_for_three_of_four[{n}]": "wrong" if n == 4 else "right" for n in (1, 2, 3, 4)},
        "in_words": "refused",
        **dict.fromkeys(("does_not_hold", "refused_though_right", "in_other_words", "accepted"), "wrong"),
        **dict.fromkeys(("foreign", "foreign_in_place_of_a_refusal", "warns", "hangs", "dies"), "raw"),
    }  # fmt: skip
    assert "3 s" in str(found["hangs"]["said"]) and "exit code 3" in str(found["dies"]["said"])


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "test_broken.py"
    file.write_text("import nowhere_at_all\n")
    (found,) = faults.run(file, quick=False)
    assert found["outcome"] == "raw" and "nowhere_at_all" in str(found["said"])


@pytest.mark.parametrize("file", sorted(faults.CASES.glob("test_*.py")), ids=lambda file: file.stem)
def test_every_situation_says_what_is_right(file: Path) -> None:
    text = file.read_text()
    assert text.count("\ndef test_") == text.count("\n@right\n") + text.count("\n@refused(")
