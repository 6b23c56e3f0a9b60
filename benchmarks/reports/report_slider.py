"""Milliseconds from a move of the slider to all figures of the report of the MNIST demo redrawn, in headless Chromium."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from benchmarks.common.result import Result
from benchmarks.reports._pages import chromium, demo

_MOVE = """async index => {
  const slider = document.getElementById("lam"), start = performance.now();
  slider.value = index;
  slider.dispatchEvent(new Event("input"));
  document.body.getBoundingClientRect();
  const laid = performance.now();
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return [laid - start, performance.now() - start];
}"""


def measure(*, quick: bool = False) -> Result:
    """Returns the median and the longest over all members: script and layout alone, and until the next frame is painted."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(demo(Path(folder), quick=quick).as_uri())
        last = int(tab.get_attribute("#lam", "max"))
        tab.evaluate(_MOVE, 0)
        moves = [tab.evaluate(_MOVE, index) for _ in range(3) for index in range(last + 1)]
    laid, painted = zip(*moves, strict=True)
    return Result(
        "report-slider",
        {"script and layout": median(laid), "until painted": median(painted)},
        "ms",
        "lower",
        seeds=[0],
        quick=quick,
        baseline="none: plotly's page had no slider",
        floor="a frame at 60 Hz: 16.7 ms until painted",
        spread={
            "script and layout": (min(laid), max(laid)),
            "until painted": (min(painted), max(painted)),
        },
    )
