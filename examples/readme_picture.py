"""Photographs the picture of the README: the page that ``netdial fit digits`` writes, as it opens in a browser.

Needs Playwright (it is in the extra ``dev``) and an installed Chromium. It takes well under a minute:

    python examples/readme_picture.py docs/_static/report.png
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from netdial.cli import main as netdial

COMMAND = ("fit", "digits", "--name", "digits", "--quiet")
"""What the README shows; ``--runs-dir`` is added."""
WIDTH, HEIGHT = 1060, 1330


def page(runs: Path, *more: str) -> Path:
    """Returns the page of a run that is trained now."""
    code = netdial([*COMMAND, "--runs-dir", str(runs), *more])
    if code:
        raise SystemExit(code)
    return runs / "digits" / "report.html"


def photograph(file: Path, picture: Path) -> None:
    """Writes what a browser shows of a page, at the member that the page opens with."""
    from playwright.sync_api import sync_playwright

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playing:
        chromium = playing.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        shown = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        shown.goto(file.absolute().as_uri())
        picture.parent.mkdir(parents=True, exist_ok=True)
        shown.screenshot(path=picture)
        chromium.close()


def main() -> None:
    """Trains and photographs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, nargs="?", default=Path("docs/_static/report.png"))
    parser.add_argument("--epochs", default=None, help="epochs; else as for the data set")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        more = () if given.epochs is None else ("--epochs", given.epochs)
        photograph(page(Path(folder), *more), given.path)
    print(f"wrote {given.path}")


if __name__ == "__main__":
    main()
