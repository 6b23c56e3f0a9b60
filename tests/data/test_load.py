"""The one door to data: what it knows, and what it says to anything else."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
