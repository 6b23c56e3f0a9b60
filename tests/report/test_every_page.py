"""Pages of all ways, and of several runs: nobody is kept out of them, at three widths, in light and dark, on paper."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netdial.cli import main

from .browsing import CHROMIUM, chromium, opened

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH"),
]
SWEEP = {
    "name": "sweep",
    "data": "wine",
    "way": "shrink",
    "settings": {"model": "mlp:8", "epochs": 2},
    "space": {"lam": {"low": 0.1, "high": 1.0}},
    "trials": 2,
    "workers": 1,
}
COMMANDS = {
    "fit": "fit wine --epochs 5 --points 5 --samples 2 --objective ard --name fit --quiet",
    "regression": "fit diabetes --epochs 3 --points 3 --samples 2 --name regression --quiet",
    "shrink": "shrink wine --model mlp:16 --lam 0.5 --epochs 5 --name shrink --quiet",
    "search": "search wine --epochs 2 --name search --quiet",
    "sweep": "sweep sweep.json",
    "paper": "reproduce surface --data wine --quick --quiet --workers 1 --out paper",
}
AFTER = (
    "prune fit",
    "slim fit",
    "evidence fit",
    "compress fit --max-loss 9 --epochs 2 --tuning 1",
    "evaluate fit --rivals --seconds 0.2",
    "evaluate shrink --rivals --seconds 0.2",
    "report fit shrink search --out both.html",
)
PLACES = {
    "both": "both.html",
    "paper": "paper/report.html",
    "sweep": "runs/sweeps/sweep/report.html",
}
names = pytest.mark.parametrize("name", [*COMMANDS, "both"])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a page by its name."""
    root = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        (root / "sweep.json").write_text(json.dumps(SWEEP))
        for command in (*COMMANDS.values(), *AFTER):
            assert main(command.split()) == 0, command
    return lambda name: root / PLACES.get(name, f"runs/{name}/report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@names
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_nobody_is_kept_out(
    name: str, scheme: str, width: int, browser: Any, pages: Callable[[str], Path]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    size = {"width": width, "height": 900}
    page, faults = opened(browser, pages(name).as_uri(), color_scheme=scheme, viewport=size)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
    found = axe.run(page).response
    assert len(found["passes"]) > 15
    assert not found["violations"], [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]]
    first = page.locator("section.answer [data-answer]").count()
    assert first == (0 if name == "paper" else 6)
    assert faults == []
    page.context.close()


@names
def test_nothing_is_wider_than_the_page(
    name: str, browser: Any, pages: Callable[[str], Path]
) -> None:
    page, faults = opened(browser, pages(name).as_uri())
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
    for width in (400, 800, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(60)  # figures follow the width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.eval_on_selector_all(
            ".chart > svg",
            "all => Math.max(0, ...all.map(one => one.getBoundingClientRect().right))",
        )
        assert wide <= width
    assert faults == []
    page.context.close()


@names
def test_everything_is_reached_by_the_keyboard(
    name: str, browser: Any, pages: Callable[[str], Path]
) -> None:
    page, _ = opened(browser, pages(name).as_uri())
    wanted = page.evaluate(REACHED)
    seen = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        place, outline = page.evaluate(FOCUSED)
        if place < 0:
            break
        seen.add(place)
        assert outline, page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    assert len(seen) == wanted
    figures = page.locator(".chart > svg[tabindex='0']")
    if figures.count():
        figures.first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".tip:visible").count() == 1
    page.context.close()


REACHED = """() => {
  window.all = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
    .filter(one => !one.disabled && one.checkVisibility());
  return window.all.length;
}"""
FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  return [window.all.indexOf(one), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""


def test_lines_across_a_figure_are_as_wide_as_it(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    page, _ = opened(browser, pages("fit").as_uri())
    lines = "all => all.map(one => one.getBoundingClientRect().width)"
    widths = page.eval_on_selector_all("#compress-waterfall line[stroke-dasharray]", lines)
    assert len([width for width in widths if width > 300]) == 2  # the bounds of codes
    page.context.close()


@names
def test_it_prints_whole(
    name: str, browser: Any, pages: Callable[[str], Path], tmp_path: Path
) -> None:
    page, faults = opened(browser, pages(name).as_uri(), color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"  # paper is white, whatever the screen is
    page.set_viewport_size({"width": 720, "height": 1000})  # about A4 between its margins
    page.wait_for_timeout(60)
    cut = page.eval_on_selector_all(
        ".scroll",
        "all => all.filter(one => one.checkVisibility() && one.scrollHeight > one.clientHeight + 2).length",
    )
    assert cut == 0
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"
    assert faults == []
    page.context.close()
