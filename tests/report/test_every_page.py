"""Pages of all ways, and of several runs: nobody is kept out of them, at three widths, in light and dark, on paper."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netdial.cli import main
from netdial.report.text import number
from netdial.runs.run import Run

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
    "fit": (
        "fit wine --epochs 5 --points 5 --samples 2 --objective ard --name fit --quiet",
        "prune fit",
        "slim fit",
        "evidence fit",
        "compress fit --max-bytes 1500 --epochs 2 --tuning 1",
        "evaluate fit --rivals --seconds 0.2",
    ),
    "regression": ("fit diabetes --epochs 3 --points 3 --samples 2 --name regression --quiet",),
    "shrink": (
        "shrink wine --model mlp:16 --lam 0.5 --epochs 5 --name shrink --quiet",
        "evaluate shrink --rivals --seconds 0.2",
        "compress shrink --max-bytes 1500 --epochs 2 --tuning 1",
    ),
    "search": (
        "search wine --epochs 2 --name search --quiet",
        "compress search --max-bytes 9000 --epochs 2 --tuning 1",
    ),
    "sweep": ("sweep sweep.json",),
    "paper": ("reproduce surface --data wine --quick --quiet --workers 1 --out paper",),
    "both": ("report shrink search --out both.html",),
    "apart": ("report shrink regression --out apart.html",),
}
"""Page -> the commands that make it."""
FIRST = {"both": ("shrink", "search"), "apart": ("shrink", "regression")}
"""Page -> pages whose runs it is made of."""
PLACES = {
    "both": "both.html",
    "apart": "apart.html",
    "paper": "paper/report.html",
    "sweep": "runs/sweeps/sweep/report.html",
}
names = pytest.mark.parametrize("name", list(COMMANDS))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the path of a page by its name, made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("pages"), set[str]()
    (root / "sweep.json").write_text(json.dumps(SWEEP))

    def page(name: str) -> Path:
        for other in FIRST.get(name, ()):
            page(other)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            for command in COMMANDS[name] if name not in made else ():
                assert main(command.split()) == 0, command
        made.add(name)
        return root / PLACES.get(name, f"runs/{name}/report.html")

    return page


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
    assert page.locator("section.answer [data-answer]").count() == 6
    assert (
        page.locator(".chart > svg[aria-label^='figure.']").count() == 0
    )  # each says what it shows
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
        told = page.eval_on_selector_all(
            ".scroll",
            """all => all.filter(one => one.checkVisibility()).map(one => {
                const hint = one.previousElementSibling, said = hint.checkVisibility() ? hint.textContent : "";
                const [right, down] = [one.scrollWidth > one.clientWidth + 1, one.scrollHeight > one.clientHeight + 1];
                return [right, said.includes("columns"), down, said.includes("rows")];
            })""",
        )
        for right, right_said, down, down_said in told:  # what goes on is said to
            assert (right, down) == (right_said, down_said)
        assert width > 400 or name not in ("fit", "apart", "paper") or any(one[0] for one in told)
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


def test_numbers_of_a_regression_are_those_of_evaluate(
    browser: Any, pages: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = pages("regression").parent
    capsys.readouterr()
    assert main(["evaluate", str(run), "--points", "3", "--samples", "2", "--json"]) == 0
    members = json.loads(capsys.readouterr().out)["members"]
    page, faults = opened(browser, pages("regression").as_uri())
    for index, member in enumerate(members):
        page.eval_on_selector(
            "#lam", f"one => {{ one.value = {index}; one.dispatchEvent(new Event('input')) }}"
        )
        numbers = page.eval_on_selector_all(
            "[data-record]", "all => all.map(one => [one.dataset.record, one.dataset.value])"
        )
        known = {name: float(value) for name, value in numbers if value}
        assert {"rmse", "r2", "nll"} <= set(known)
        for name, value in known.items():
            assert value == pytest.approx(member[name], rel=1e-6), name
        row = page.eval_on_selector_all(
            "#by-class tbody tr:last-child > *", "all => all.map(one => one.textContent)"
        )
        assert row[1] == f"{member['rmse']:.4g}"  # in units of the target
    assert faults == []
    page.context.close()


@pytest.mark.parametrize("name", ["shrink", "search"])
def test_numbers_of_a_network_are_those_of_evaluate(
    name: str, browser: Any, pages: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = pages(name).parent
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    page, _ = opened(browser, pages(name).as_uri())
    box = page.locator("section.answer")
    chosen = box.locator("[data-answer=chosen] .small").text_content()
    assert f"validation log loss {number(told['metrics']['nll'])}," in chosen
    assert f"accuracy {told['metrics']['accuracy']:.1%};" in chosen
    constant = box.locator("[data-answer=constant] .value").text_content()
    assert constant == number(told["constant"]["nll"])
    sure = box.locator("[data-answer=sure] .value").text_content()
    assert sure == f"± {number(told['metrics']['nll_error'], 2)}"
    page.context.close()


def test_hostile_names_stay_text_on_pages_of_all_ways(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "<img src=x onerror=document.title='owned'>"
    monkeypatch.chdir(tmp_path)
    rows = [f"{k % 7},{k % 5},{hostile if k % 7 > 3 else 'no'}" for k in range(60)]
    Path("t.csv").write_text("\n".join([f"x,{hostile},<b>y", *rows]))
    common = ["t.csv", "--target", "<b>y", "--epochs", "1", "--quiet", "--name"]
    assert main(["shrink", *common, f"s {hostile}", "--model", "mlp:4"]) == 0
    assert main(["search", *common, f"z {hostile}"]) == 0
    runs = [f"runs/s {hostile}", f"runs/z {hostile}"]
    assert main(["report", *runs, "--out", "both.html"]) == 0
    for file in (*(Path(run) / "report.html" for run in runs), Path("both.html")):
        page, faults = opened(browser, file.absolute().as_uri())
        assert page.locator("img:not(.graph)").count() == 0
        assert "onerror" in page.text_content("main")
        assert "owned" not in page.title() or "onerror" in page.title()
        assert faults == []
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


@names
def test_on_paper_tables_are_as_wide_as_it_and_no_number_is_broken(
    name: str, browser: Any, pages: Callable[[str], Path]
) -> None:
    size = {"width": 690, "height": 1000}  # A4 within its margins
    page, _ = opened(browser, pages(name).as_uri(), viewport=size)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
    page.emulate_media(media="print")
    tables = page.eval_on_selector_all(
        ".scroll table", "all => all.map(one => one.getBoundingClientRect().right)"
    )
    assert max(tables, default=0) <= 695
    broken = page.eval_on_selector_all(".scroll td", BROKEN)
    assert broken == []
    page.context.close()


BROKEN = """all => all.filter(one => /^[\\d.,%×−-]+$/.test(one.textContent.trim())
    && one.firstChild?.nodeType === 3
    && (() => { const range = document.createRange(); range.selectNodeContents(one);
        return range.getClientRects().length > 1; })())
    .map(one => one.textContent)"""


def test_losses_of_a_regression_say_their_unit(
    browser: Any, pages: Callable[[str], Path], tmp_path: Path
) -> None:
    unit = "squared error in variances of the target"
    page, faults = opened(browser, pages("regression").as_uri())
    moves = range(page.evaluate("dial.lams.length"))
    for index in moves:
        page.eval_on_selector(
            "#lam", f"one => {{ one.value = {index}; one.dispatchEvent(new Event('input')) }}"
        )
        assert page.text_content("#lost") == "0" or unit in page.text_content("#lost-error")
    term = page.locator("button.term[data-term=squared]").first
    assert term.count() == 0 or term.is_visible()
    assert unit in page.text_content("body")
    members = page.evaluate("everything.members")
    with page.expect_download() as told:
        page.click("a[download='members.csv']")
    rows = list(csv.DictReader(Path(told.value.path()).read_text("utf-8").splitlines()))
    assert [float(row["valid/rmse"]) for row in rows] == [
        one["values"]["valid/rmse"] for one in members
    ]
    with page.expect_download() as told:
        page.click("#json")
    whole = json.loads(Path(told.value.path()).read_text("utf-8"))
    assert whole["members"] == members
    kept = [asdict(one) for one in Run.open(pages("regression").parent).records()]
    plain = partial(json.dumps, sort_keys=True)
    same = partial(json.loads, parse_int=float)  # JavaScript writes 1.0 as 1
    assert sorted(map(plain, same(plain(whole["records"])))) == sorted(
        map(plain, same(plain(kept)))
    )
    assert "series" not in whole
    assert faults == []
    page.context.close()


def test_brackets_values_and_flags_stay_with_their_words(
    browser: Any, pages: Callable[[str], Path]
) -> None:
    whole = "all => all.every(one => one.getClientRects().length === 1)"
    for width in range(300, 1300, 70):
        size = {"width": width, "height": 900}
        page, _ = opened(browser, pages("regression").as_uri(), viewport=size)
        assert "(R²" in page.locator(".lead .kept").all_text_contents()
        assert page.eval_on_selector_all(".kept", whole), width
        assert "evaluate regression --rivals" in page.text_content(".answer")
        page.context.close()


def test_tables_that_go_on_below_say_so(browser: Any, pages: Callable[[str], Path]) -> None:
    page, _ = opened(browser, pages("fit").as_uri())
    hints = page.eval_on_selector_all(
        ".sideways",
        "all => all.map(one => [one.hidden, one.textContent, one.nextSibling.ariaLabel])",
    )
    assert [False, "more rows below: scroll down ↓", "Columns"] in hints
    assert [True, "Rivals"] in [[hidden, label] for hidden, _, label in hints]
    page.context.close()
