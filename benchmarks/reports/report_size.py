"""MB of the report of the MNIST demo, and seconds until its curves are drawn in headless Chromium."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from benchmarks.common.result import Result
from benchmarks.reports._pages import chromium, demo

_DRAWN = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done([
  document.querySelectorAll("#curves path").length, performance.now(),
  performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0]))))"""


def measure(*, quick: bool = False) -> Result:
    """Returns the size in MB; the seconds, each in a fresh browser context, are beside it."""
    with tempfile.TemporaryDirectory() as folder:
        page = demo(Path(folder), quick=quick)
        size, seconds = page.stat().st_size / 1e6, []
        with chromium() as browser:
            for _ in range(3 if quick else 10):
                context = browser.new_context()
                tab = context.new_page()
                tab.goto(page.as_uri())
                curves, drawn, _ = tab.evaluate(_DRAWN)
                assert curves > 0
                seconds.append(drawn / 1000)
                context.close()
    return Result(
        "report-size",
        {"MB": size, "s to drawn curves": median(seconds)},
        "",
        "lower",
        seeds=[0],
        quick=quick,
        baseline="the same page with plotly's script inside: 4.9 MB and more",
        floor="the records that the page carries as data",
        spread={"s to drawn curves": (min(seconds), max(seconds))},
    )
