"""The page that a server gives, in a browser: its form asks the model, and the answer follows the slider."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import netdial as nd
from netdial.cli.app import app

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH"),
]
HOSTILE = "<img src=x onerror=document.title='owned'>"
ROWS = [
    (k % 9, "Ayr" if k % 3 else HOSTILE, 100.5 * (k % 9) + (50 if k % 3 else 0) + k / 7)
    for k in range(120)
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("served")
    lines = [f"rooms,{HOSTILE},sold,price"]
    lines += [f"{a},{b},2021-{1 + a:02d}-{3 + a},{c}" for a, b, c in ROWS]
    (root / "t.csv").write_text("\n".join(lines))
    command = f"fit {root}/t.csv --target price --epochs 20 --points 5 --samples 0 --name t --quiet --runs-dir {root}"
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output
    command = f"serve {root}/t --port 0 --json"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from netdial.cli import main; raise SystemExit(main())",
            *command.split(),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("}") or (
                said.strip().startswith("{") and said.strip().endswith("}")
            ):
                break
        yield json.loads(said)["address"], root / "t"
        process.terminate()
        assert process.wait(20) == 0  # a graceful end


def test_the_live_page_asks_the_model(served: tuple[str, Path]) -> None:
    address, run = served
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    model: Any = nd.load_model(run)
    with playwright.sync_playwright() as playing:
        browser = playing.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, faults = browser.new_page(viewport={"width": 400, "height": 900}), []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}/?lam=0.1")
        assert page.input_value("[data-column=sold]").startswith("2021-0")
        page.locator(
            "#said-by strong", has_text="price: "
        ).wait_for()  # the form as it comes is a whole row
        page.fill("[data-column=rooms]", "7")
        page.fill("#ask label:nth-of-type(2) input", "Ayr")
        answers = []
        lams = page.evaluate("dial.lams")
        for index in (0, len(lams) - 1):
            move = f"one => {{ one.value = {index}; one.dispatchEvent(new Event('input')) }}"

            def answers_it(answer: Any, lam: float = lams[index]) -> bool:
                asked = answer.request.post_data_json or {}
                return answer.url.endswith("/predict") and asked.get("lam") == lam

            with page.expect_response(answers_it) as told:
                page.eval_on_selector("#lam", move)
            one = told.value.json()
            assert one["lam"] == lams[index]
            rows = {
                "rooms": [7],
                HOSTILE: ["Ayr"],
                "sold": [page.input_value("[data-column=sold]")],
            }
            mine = model.predict(rows, lam=lams[index]).iloc[0].to_dict()
            assert one["predictions"][0] == pytest.approx(mine, rel=1e-5)
            page.locator("#said-by strong", has_text="price").wait_for()
            answers.append(page.text_content("#said-by strong"))
        assert answers[0] != answers[1]
        page.fill("[data-column=rooms]", "many")
        page.locator("#said-by strong.refused", has_text="many").wait_for()
        assert "row 0" not in page.text_content("#said-by")  # there is one row
        assert page.locator("img").count() == 0
        assert "owned" not in page.title()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        grave = [
            v
            for v in axe.run(page).response["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert not grave, [(v["id"], v["nodes"][0]["html"]) for v in grave]
        page.goto(f"{address}/?lam=<b>many</b>")
        assert "not a number" in page.text_content("#address")
        low, high = page.evaluate("dial.lams.slice(0, 2)")
        page.goto(f"{address}/?lam={(low * high) ** 0.5}")  # between two members
        assert "was not measured" in page.text_content("#address")
        page.eval_on_selector("#lam", move)
        assert not page.is_visible("#address")
        assert "?lam" not in page.url and "#lam=" in page.url
        faults = [
            said for said in faults if "400" not in said
        ]  # the browser notes that "many" was refused
        assert faults == []
        browser.close()
