"""Pages in headless Chromium: an MNIST run with its report, opened by playwright."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def demo(folder: Path, *, quick: bool) -> Path:
    """Returns the report of a family trained on MNIST with the settings that go without saying; quick: two epochs."""
    size = ["--epochs", "2", "--points", "9", "--samples", "2"] if quick else ["--epochs", "20"]
    code = "import sys; from netdial.cli import main; sys.exit(main())"
    command = ["fit", "mnist", "--model", "mlp:50", "--name", "demo", "--quiet", *size]
    subprocess.run(
        [sys.executable, "-c", code, *command, "--runs-dir", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / "demo" / "report.html"


@contextmanager
def chromium() -> Iterator[Any]:
    """Yields the Chromium that is installed, headless."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise RuntimeError("Chromium is not installed (chromium or google-chrome on the PATH)")
    with sync_playwright() as playing:
        browser = playing.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
