"""The page in a browser: the slider moves every figure, numbers are those of ``netdial evaluate``, nothing of a run is code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from netdial.cli.app import app
from netdial.core.best import signed
from netdial.jobs.reports import write_report
from netdial.report.terms import TERMS
from netdial.report.text import number
from netdial.runs.run import Run

from .browsing import CHROMIUM, chromium, opened

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH"),
]
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
TABLE = "x,{0},y\n" + "".join(
    f"{k % 7},{'</script><script>alert(1)</script>' if k % 3 else '&amp;'},{'{0}' if k % 7 > 3 else 'no'}\n"
    for k in range(120)
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    command = "fit wine --epochs 5 --points 5 --samples 2 --name w --quiet --runs-dir"
    done = CliRunner().invoke(app, [*command.split(), str(root)])
    assert done.exit_code == 0, done.output
    return root / "w"


def shown(page: Any) -> dict[str, float]:
    pairs = page.eval_on_selector_all(
        "[data-record]", "all => all.map(one => [one.dataset.record, one.dataset.value])"
    )
    return {name: float(value) for name, value in pairs if value}


def test_the_slider_moves_the_page_and_numbers_are_those_of_evaluate(
    browser: Any, wine: Path
) -> None:
    told = CliRunner().invoke(app, ["evaluate", str(wine), "--points", "5", "--json"])
    members = json.loads(told.output)["members"]
    page, faults = opened(browser, wine.joinpath("report.html").as_uri())
    seen = []
    for index, member in enumerate(members):
        page.eval_on_selector(
            "#lam", f"one => {{ one.value = {index}; one.dispatchEvent(new Event('input')) }}"
        )
        numbers = shown(page)
        assert len(numbers) >= 3
        for name, value in numbers.items():
            assert value == pytest.approx(member[name], rel=1e-6), name
        counts = page.eval_on_selector_all(
            "#confusion td", "all => all.map(one => one.textContent)"
        )
        right = sum(int(counts[4 * k]) if counts[4 * k] != "·" else 0 for k in range(3))
        assert right / 36 == pytest.approx(member["accuracy"])
        seen.append(
            page.eval_on_selector_all(
                "#dial-weights rect", "all => all.map(one => one.getAttribute('height'))"
            )
        )
        assert page.locator("tr.now").count() == 1
    assert len({tuple(one) for one in seen}) == len(members)
    assert faults == []


def test_the_dial_turns_by_keyboard_and_the_address_keeps_it(browser: Any, wine: Path) -> None:
    page, faults = opened(browser, f"{wine.joinpath('report.html').as_uri()}#lam=1")
    page.focus("#lam")
    before = page.text_content("#member-name")
    page.keyboard.press("ArrowRight")
    after = page.text_content("#member-name")
    assert before != after
    again, _ = opened(browser, page.url)
    assert again.text_content("#member-name") == after
    page.focus("#curves > svg")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#curves .tip")
    page.locator(".term").first.focus()
    assert page.is_visible("#said")
    assert faults == []


def test_terms_explain_themselves_with_their_equations(browser: Any, wine: Path) -> None:
    page, faults = opened(browser, wine.joinpath("report.html").as_uri())
    keys = page.eval_on_selector_all("[data-term]", "all => all.map(one => one.dataset.term)")
    assert {"lambda", "nats", "nll", "norm", "se", "macs", "constant", "recall"} <= set(keys)
    for one in [node for node in page.locator("button.term").all() if node.is_visible()][::3]:
        one.hover()
        term = TERMS[one.get_attribute("data-term")]
        assert page.text_content("#said") == term.name + term.meaning + term.equation
    assert faults == []


def test_every_term_is_explained_once_and_its_words_are_its_own() -> None:
    words = [word.lower() for term in TERMS.values() for word in term.words]
    assert len(words) == len(set(words))
    assert all(len(term.meaning) < 160 for term in TERMS.values())


@pytest.mark.parametrize("asked", ["abc", "", "1e9", "-1", "<b>", "Infinity"])
def test_a_lambda_that_is_not_there_is_said(browser: Any, wine: Path, asked: str) -> None:
    page, faults = opened(browser, f"{wine.joinpath('report.html').as_uri()}#lam={asked}")
    assert page.is_visible("#address")
    assert shown(page)
    assert faults == []


def test_what_the_address_cannot_have_is_said_with_what_is_shown(browser: Any, wine: Path) -> None:
    url = wine.joinpath("report.html").as_uri()
    for address, words in {
        "#lam=0.3": ("λ = 0.3 was not measured", "λ = 0.316, is shown"),
        "?lam=0.3": ("λ = 0.3 was not measured", "λ = 0.316, is shown"),
        "?lam=0.3#lam=10": ("gives λ twice, 0.3 and 10",),
        "?lam=abc#lam=10": ("“abc” is not a number", "λ = 10 is shown"),
        "?lam=1e9": ("outside 0.01 to 10", "The chosen one is shown"),
        "#lam=10&part=training": ("“training” is no part",),
        "#lam=10&share=0.123": ("0.123 removed was not measured",),
    }.items():
        page, faults = opened(browser, url + address)
        assert page.is_visible("#address")
        said = page.text_content("#address")
        assert all(word in said for word in words), (address, said)
        page.focus("#lam")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowRight")
        assert not page.is_visible("#address")
        again, _ = opened(
            browser,
            page.url.partition("?")[0].partition("#")[0] + "#" + page.url.rpartition("#")[2],
        )
        assert not again.is_visible("#address")  # the page's own address is a member's
        assert faults == []
        page.context.close()
        again.context.close()
    for same in ("?lam=10#lam=10", "#lam=0.316"):  # as the page itself writes it
        page, _ = opened(browser, url + same)
        assert not page.is_visible("#address")


def test_numbers_are_rounded_as_python_does(browser: Any, wine: Path) -> None:
    page, _ = opened(browser, wine.joinpath("report.html").as_uri())
    values = [28 / 29, 0.9655, *(k / 64 for k in range(-64, 65)), 0.145, 1.005, 2.5, 1 / 3, 123.5]
    for spec in (".1%", ".2%", ".0f", ".3f", "+.3f", "+.1%"):
        mine = page.evaluate(f"all => all.map(one => written(one, '{spec}'))", values)
        assert mine == [signed(value, spec) for value in values]


def test_large_and_small_numbers_are_written_as_in_sentences(browser: Any, wine: Path) -> None:
    page, _ = opened(browser, wine.joinpath("report.html").as_uri())
    values = [1.0, 1e-6, 7.317e-8, -2.5e-7, 1e-4, 0.00012, 1e7, -3.25e9, 123456.0]
    mine = page.evaluate("all => all.map(one => written(one, '.3~g'))", values[:-1])
    assert mine == [number(value) for value in values[:-1]]
    ticks = "([low, high]) => scaleOf({}, [low, high], 0, 300).ticks.map(([, label]) => label)"
    for low, high in (
        (999_990.0, 1_000_010.0),
        (2e5, 3e5),
        (1e6 + 0.1, 1e6 + 3.4),
        (17978.36, 17978.4),
    ):
        labels = page.evaluate(ticks, [low, high])
        assert len(set(labels)) == len(labels) > 2
        read = [float(label.replace("\u202f", "")) for label in labels]
        assert all(low - 1 <= value <= high + 1 for value in read)
    assert page.evaluate(ticks, [0.0, 20.0])[-1] == "20"
    alone = "() => scaleOf({type: 'log', tickvals: [0.2, 0.5]}, [0.316], 0, 300).ticks.length"
    assert page.evaluate(alone) == 2  # one member has a λ on its axis, too
    same = page.evaluate(ticks, [5.0, 5.0 + 1e-9])  # rounding is no difference
    assert len(set(same)) == len(same) > 2


def test_predictive_figures_stand_beside_the_constant_too(browser: Any, tmp_path: Path) -> None:
    command = "fit wine --epochs 1 --points 3 --samples 2 --objective ard --lo 0.1 --hi 1e6 --name p --quiet --runs-dir"
    assert CliRunner().invoke(app, [*command.split(), str(tmp_path)]).exit_code == 0
    page, _ = opened(browser, (tmp_path / "p" / "report.html").as_uri())
    constant = page.evaluate("dial.constant['valid/accuracy']")
    for index in range(3):
        page.eval_on_selector(
            "#lam", f"one => {{ one.value = {index}; one.dispatchEvent(new Event('input')) }}"
        )
        for name in ("accuracy", "accuracy_predictive"):
            said = page.text_content(f"[data-beside={name}]")
            assert "a constant: " in said
            assert ("worse than that" in said) == (shown(page)[name] < constant)


def test_the_size_slider_goes_back_in_time(browser: Any, tmp_path: Path) -> None:
    command = "shrink wine --model mlp:16 --lam 0.5 --epochs 6 --name s --quiet --runs-dir"
    done = CliRunner().invoke(app, [*command.split(), str(tmp_path)])
    assert done.exit_code == 0, done.output
    page, faults = opened(browser, (tmp_path / "s" / "report.html").as_uri())
    end = page.text_content("#moment-params")
    move = "one => { one.value = 0; one.dispatchEvent(new Event('input')) }"
    page.eval_on_selector("#moment", move)
    assert page.text_content("#moment-share") == "100.0% of the start"
    assert page.text_content("#moment-params") != end
    assert page.text_content("tr[data-layer] td:nth-of-type(2)") == "16"
    assert faults == []


def test_a_budget_chooses(browser: Any, wine: Path) -> None:
    page, _ = opened(browser, wine.joinpath("report.html").as_uri())
    page.click(".budget summary")
    page.fill("[data-limit=loss]", "-1")
    assert "None of 5" in page.text_content("#within")
    page.fill("[data-limit=loss]", "100")
    assert "5 of 5" in page.text_content("#within")
    page.click("#take")
    assert page.text_content("#lost-error") == "this is the best"
    assert "on record" not in page.text_content("#within")
    page.evaluate("dial.candidates[0].bytes = null")
    page.fill("[data-limit=bytes]", "1e9")
    assert "4 of 5" in page.text_content("#within")
    assert page.text_content("#within").endswith(" 1 of them have no bytes on record.")


def test_hostile_names_stay_text(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(TABLE.replace("{0}", HOSTILE.replace('"', "'")))
    command = f"fit {file} --target y --epochs 1 --points 3 --samples 1 --name h --quiet --runs-dir {tmp_path}"
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output
    page, faults = opened(browser, (tmp_path / "h" / "report.html").as_uri())
    for index in range(3):
        page.eval_on_selector(
            "#lam", f"one => {{ one.value = {index}; one.dispatchEvent(new Event('input')) }}"
        )
    page.hover("#confusion td")
    assert page.locator("img").count() == 0
    assert "onerror" in page.text_content("#by-class")
    assert "owned" not in page.title()
    assert faults == []


def test_layers_and_runs_with_hostile_names(browser: Any, make_run: Callable[..., Run]) -> None:
    run = make_run(f"r {HOSTILE}".replace("/", ""))
    page, faults = opened(browser, write_report(run.path).as_uri())
    assert "onerror" in page.text_content("h1")
    assert page.locator("img").count() == 0
    assert faults == []
