"""The house is in order: versions agree, dependencies are pinned, targets exist, nothing private is in the tree."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import netdial as nd

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {"setup", "run", "test", "test-all", "docs", "clean"}


def project() -> dict[str, Any]:
    """Returns the project table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return table


def tracked() -> list[Path]:
    """Returns the files that belong to the project, or skips where git cannot tell."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout; only git knows which files belong to the project")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_version_is_one() -> None:
    assert project()["project"]["version"] == nd.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{nd.__version__}]" in changelog


def test_package_is_typed_and_licensed() -> None:
    assert (ROOT / "src/netdial/py.typed").exists()
    assert (
        (ROOT / "LICENSE")
        .read_text(encoding="utf-8")
        .startswith(f"{project()['project']['license']} License")
    )


def test_every_dependency_is_pinned_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    table = project()["project"]
    wanted = [
        *table["dependencies"],
        *(r for extra in table["optional-dependencies"].values() for r in extra),
    ]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "netdial":
            assert name in pinned, f"{name} has no pin in constraints.txt"
            assert requirement.specifier.contains(pinned[name]), (
                f"{requirement} against {pinned[name]}"
            )


def test_extras_named_to_users_exist() -> None:
    extras = set(project()["project"]["optional-dependencies"])
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"netdial\[([a-z]+)\]", text))
        named |= set(re.findall(r'missing_extra\([^)]*, "([a-z]+)"\)', text))
    assert named <= extras


def test_makefile_and_ci_offer_what_the_readme_names() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"^([a-z-]+):", makefile, re.M)) >= TARGETS
    for target in ("run", "test", "test-all", "docs"):
        assert re.search(rf"^{target}: setup\b", makefile, re.M), f"{target} does not call setup"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\$ make ([a-z-]+)", readme, re.M)) == {"run", "test"}
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert "make test" in text


def test_nothing_of_one_machine_is_in_the_tree() -> None:
    private = ["/" + "work" + "/", "/" + "root" + "/", "/" + "home" + "/", "/" + "tmp" + "/nd"]
    shared = ".." + "/shared"
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        words = private if path.name == "Makefile" else [*private, shared]
        found += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert not found


def test_nothing_large_or_binary_is_in_the_tree() -> None:
    large = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 1_000_000]
    assert not large


def test_torchvision_is_absent() -> None:
    table = project()["project"]
    everything = [
        *table["dependencies"],
        *(r for extra in table["optional-dependencies"].values() for r in extra),
    ]
    assert "torchvision" not in " ".join(everything)
    assert importlib.util.find_spec("torchvision") is None


@pytest.mark.slow
def test_installed_packages_agree() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
