"""The one door to data: what it knows, and what it says to anything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from netdial.core.errors import ConfigError
from netdial.data import load_data, names


def test_names() -> None:
    assert set(names()) == {"wine", "digits", "breast-cancer", "diabetes", "mnist", "cifar10"}


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown data 'wnie'; did you mean 'wine'.*\.csv"):
        load_data("wnie")


@pytest.mark.slow
def test_import_brings_no_optional_library() -> None:
    code = (
        "import sys, netdial.data, netdial.nets;"
        "heavy = {'sklearn', 'pandas', 'pyarrow', 'PIL', 'torchvision'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_table_is_named_by_a_path_or_a_text(tmp_path: Path) -> None:
    file = tmp_path / "a b.csv"
    file.write_text("a,y\n" + "".join(f"{i % 7},{i * 0.1}\n" for i in range(30)))
    one, other = load_data(file, target="y"), load_data(str(file), target="y")
    assert torch.equal(one.train.x, other.train.x)
