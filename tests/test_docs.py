"""The documentation is code: every example runs, every link leads somewhere, every command line is accepted."""

from __future__ import annotations

import json
import os
import pydoc
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import netdial as nd
from netdial.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXAMPLES = ROOT / "examples"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def blocks(page: Path, language: str) -> list[str]:
    """Returns the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def python(
    code: str, *arguments: str, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter and returns what it did; a failure shows its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


APART = """
def run():
    import json, os, sys
    import sklearn.base, torch._dynamo  # slow to load, wanted by every script, nothing of ours

    for line in sys.stdin:
        name, script = json.loads(line)
        child = os.fork()
        if child == 0:
            sys.stdin = open(os.devnull)
            os.chdir(script["folder"])
            printed = os.open("printed.txt", os.O_WRONLY | os.O_CREAT)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            sys.argv = [name, *script["arguments"]]
            exec(compile(script["code"], name, "exec"), globals())
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)

run()
"""
"""Runs scripts one after the other, each in a process of its own that has loaded nothing of netdial.

The process that starts them has loaded the libraries that all of them need, which takes longer than what they do.
"""

SEEN = """
import torch
x = data.valid.inputs()[:8]
assert torch.allclose(again(x), small(x), atol=1e-4) and shrunk.n_params < 5100
"""


TABLE = """
from pathlib import Path
rows = [f"{i % 7 + i / 60:.2f},{'ab'[i % 2]},{'high' if i % 7 > 3 else 'low'},{i % 7}" for i in range(60)]
for name in ("people.csv", "houses.csv", "new.csv"):
    Path(name).write_text("\\n".join(["age,town,income,price", *rows]))
"""
FRAME = (
    TABLE
    + """
import pandas
frame = pandas.read_csv("people.csv")
"""
)
NETWORK = (
    TABLE
    + """
import torch
def network(x):
    return torch.zeros(len(x), 7)
"""
)
TRAINED = """
import netdial as nd
train = nd.load_data("wine").train
network = nd.build("mlp:4", input_shape=(13,), n_outputs=3)
family = nd.fit(network, train, objective="scaled-kl", epochs=2, batch_size=16)
"""

CODES = """
import numpy as np
codes, values = np.zeros((50, 13), np.int32), np.array([0.0], np.float32)
bias = np.zeros(50, np.float32)
"""

SCRIPTED = {
    "README.md": ("", ""),
    "docs/tutorial.md": ("", ""),
    "docs/tutorial-choose.md": ("", ""),
    "docs/shrinking.md": ("", SEEN),
    "docs/files.md": (FRAME, ""),
    "docs/tables.md": (NETWORK, "assert len(answers) == 60"),
    "docs/how-to-add-a-posterior.md": ("", ""),
    "docs/how-to-add-a-search-strategy.md": ("", ""),
    "docs/how-to-add-an-operation.md": (
        "",
        "assert 'bilinear' in str(found.genotype)",
    ),
    "docs/structure-search.md": ("", "assert space.count == 6"),
    "docs/structure-lecture.md": ("", "assert len(found) == 3"),
    "docs/tutorial-search.md": ("", "assert len(answers) == 3 and small.cost.params <= 600"),
    "docs/tutorial-networks.md": (
        "",
        "assert isinstance(small, type(bert)) and isinstance(model, type(vit)) and slimmed.widths\n"
        "assert isinstance(member, type(gpt)) and isinstance(unet, UNet) and shrunk.n_params < 10_500",
    ),
    "docs/structure-priors.md": ("", "assert 'sin(' in found.text and len(posterior.graphs) == 25"),
    "docs/compressing.md": ("", "assert found.n_bytes <= 500"),
    "docs/ndz.md": (CODES, ""),
    "docs/comparing.md": ("", "assert [p.name for p in board.places]"),
    "docs/sweeps.md": ("", "assert len(found.done) == 4"),
    "docs/evidence.md": (TRAINED, "assert set(chosen(found)) == {'elbo', 'eb-elbo', 'mdl'}"),
}
"""Pages whose Python blocks run in order, with what has to be there before, and what is checked after."""


def scripts() -> dict[str, tuple[str, ...]]:
    """Returns name -> (code, arguments …) of everything that readers are shown to run."""
    found: dict[str, tuple[str, ...]] = {}
    for name, (before, after) in SCRIPTED.items():
        found[name] = ("\n".join([before, *blocks(ROOT / name, "python"), after]),)
    for name, *arguments in (
        ("own_network.py",),
        ("readme_picture.py", "report.png", "--epochs", "2"),
    ):
        found[name] = ((EXAMPLES / name).read_text(encoding="utf-8"), *arguments)
    return found


Printed = Callable[..., str]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Printed]:
    """A function that runs a script and returns what it printed; one that fails is shown."""
    with subprocess.Popen(
        [sys.executable, "-c", APART],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        asking, answers = process.stdin, process.stdout
        assert asking is not None and answers is not None

        def run(name: str, folder: Path | None = None) -> str:
            code, *arguments = scripts()[name]
            folder = folder or tmp_path_factory.mktemp(Path(name).stem)
            asked = {"code": code, "arguments": arguments, "folder": str(folder)}
            print(json.dumps([name, asked]), file=asking, flush=True)
            ended = answers.readline().strip()
            text = (folder / "printed.txt").read_text(encoding="utf-8")
            assert ended == "0", text
            return text

        yield run
        asking.close()


SLOW = (
    "docs/tutorial.md", "docs/tutorial-choose.md", "docs/files.md", "docs/how-to-add-a-posterior.md",
    "docs/how-to-add-a-search-strategy.md", "docs/how-to-add-an-operation.md",
    "docs/tutorial-networks.md", "docs/compressing.md", "docs/structure-search.md", "own_network.py",
    "readme_picture.py", "docs/evidence.md", "docs/structure-priors.md", "docs/tables.md",
)  # fmt: skip
"""Scripts that take longer than a second and show what others do, too."""


def each(*names: str) -> pytest.MarkDecorator:
    """Returns the parameter ``name``; scripts that take long are marked so."""
    marked = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in names]
    return pytest.mark.parametrize("name", marked)


@each("README.md", "docs/tutorial.md", "docs/tutorial-choose.md")
def test_python_blocks_run_in_order(name: str, printed: Printed) -> None:
    assert "nd.fit(" in scripts()[name][0]
    assert "accuracy" in printed(name)


@each("docs/tutorial-networks.md")
def test_networks_you_have_are_cut(name: str, printed: Printed) -> None:
    pytest.importorskip("transformers")  # extra zoo
    printed(name)


@each(
    "docs/how-to-add-an-operation.md",
    "docs/compressing.md",
    "docs/ndz.md",
    "docs/files.md",
    "docs/tables.md",
    "docs/evidence.md",
    "docs/structure-search.md",
    "docs/structure-priors.md",
)
def test_python_blocks_of_reference_pages_run(name: str, printed: Printed) -> None:
    printed(name)


def test_pages_with_python_blocks_are_run() -> None:
    shown = {str(page.relative_to(ROOT)) for page in PAGES if blocks(page, "python")}
    assert shown == set(SCRIPTED)


@pytest.mark.slow
def test_the_blocks_on_shrinking_run(printed: Printed) -> None:
    assert "'fc1'" in printed("docs/shrinking.md")


def test_the_readme_example_is_short() -> None:
    (code,) = blocks(ROOT / "README.md", "python")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 10


@each("own_network.py")
def test_own_network_example_runs(name: str, printed: Printed) -> None:
    assert "Attentive: an ordinary module" in printed(name)


@each("readme_picture.py")
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
def test_readme_picture_is_the_page_itself(name: str, printed: Printed, tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api")
    printed(name, tmp_path)
    for picture in (tmp_path / "report.png", ROOT / "docs/_static/report.png"):
        head = picture.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", head[16:24]) == (1060, 1330)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = (EXAMPLES / name).read_text(encoding="utf-8")
    shown = next(line for line in readme.splitlines() if "netdial fit digits" in line)
    words = shown.split("#")[0].split()[2:]  # without "$ netdial"
    listed = ", ".join(f'"{word}"' for word in words)
    assert f'COMMAND = ({listed}, "--quiet")' in code


LAWS = """
import doctest
import torch
import netdial as nd
from netdial.core.layout import Layout
from netdial.family import MAPS, MapOptions
from netdial.family.maps import quadratic

assert doctest.testmod(quadratic) == (0, 1)

layout = Layout(("weight", "bias"), ((4, 3), (4,)))
initial, unit = torch.randn(layout.size), torch.rand(7, dtype=torch.float64)
made = MAPS["quadratic"].start(layout, initial, MapOptions())
torch.testing.assert_close(made(unit), initial.expand(7, -1))
with torch.no_grad():
    made.pivots.normal_()
keep = torch.tensor([2, 0])
cut = made.cut("weight", 1, keep)
whole = layout.split(made(unit))["weight"].index_select(2, keep)
torch.testing.assert_close(cut.layout.split(cut(unit))["weight"], whole)

task = nd.load_data("wine")
net = nd.build("linear", input_shape=(13,), n_outputs=3)
family = nd.fit(net, task.train, map="quadratic", epochs=60, batch_size=32)
accuracy = nd.evaluate(family, task.valid, lams=[0.01]).column("accuracy")[0]
assert accuracy > 0.8, accuracy
"""


def test_the_change_of_the_how_to_applies() -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed; it applies the change shown in the how-to")
    (change,) = blocks(ROOT / "docs/how-to-add-a-map.md", "diff")
    subprocess.run([git, "apply", "--check", "-"], input=change, text=True, cwd=ROOT, check=True)


@pytest.mark.slow
def test_the_map_of_the_how_to_applies_obeys_the_laws_and_trains(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed; it applies the change shown in the how-to")
    shutil.copytree(ROOT / "src", tmp_path / "src")  # with compiled modules, which take a while
    (change,) = blocks(ROOT / "docs/how-to-add-a-map.md", "diff")
    subprocess.run(
        [git, "apply", "--whitespace=error-all", "-"],
        input=change,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
        check=True,
    )
    python(LAWS, cwd=tmp_path, PYTHONPATH=str(tmp_path / "src"))
    ruff = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml")]
    subprocess.run([*ruff, "src/netdial/family/maps/quadratic.py"], cwd=tmp_path, check=True)


@each("docs/how-to-add-a-posterior.md")
def test_the_posterior_of_the_how_to_shuts_gates(name: str, printed: Printed) -> None:
    lines = printed(name).splitlines()
    gates = [json.loads(line.partition(" ")[2]) for line in lines]
    assert min(gates[1][:2]) > 0.8 > 0.4 > max(gates[1][2:])
    assert max(gates[3]) < 0.2


@each("docs/how-to-add-a-search-strategy.md")
def test_the_strategies_of_the_how_to_search(name: str, printed: Printed) -> None:
    lines = [line.split(" | ") for line in printed(name).splitlines()]
    assert [line[0] for line in lines] == ["local", "exponentiated"]
    assert all("->" in line[1] and 0 <= float(line[2]) < 0.5 for line in lines)


def test_the_api_page_has_every_public_name_once_and_no_other() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    shown = re.findall(r"auto(?:function|class):: netdial\.(\w+)$", page, re.M)
    assert sorted(shown) == sorted(nd.__all__)


def test_what_the_api_page_names_exists() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    for path in re.findall(r"auto(?:function|class):: ([\w.]+)$", page, re.M):
        assert pydoc.locate(path) is not None, path
    for path, names in re.findall(r"automodule:: ([\w.]+)\n   :members: (.+)", page):
        for name in names.split(", "):
            assert pydoc.locate(f"{path}.{name}") is not None, f"{path}.{name}"


def test_links_between_pages_lead_somewhere() -> None:
    missing = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            if "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert not missing


def commands() -> list[str]:
    """Returns every ``netdial …`` line shown to readers."""
    lines = [
        line for page in PAGES for block in blocks(page, "console") for line in block.splitlines()
    ]
    shown = [
        line.removeprefix("$ ").partition("#")[0].strip() for line in lines if "$ netdial " in line
    ]
    return sorted(set(shown))


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({line.split()[1] for line in commands()}))
def test_commands_shown_are_accepted(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    told = capsys.readouterr().out
    for line in commands():
        if line.split()[1] == command:
            for option in re.findall(r"--[a-z-]+", line):
                assert option in told, line


@pytest.mark.slow
def test_commands_are_shown() -> None:
    assert {line.split()[1] for line in commands()} >= {
        "fit",
        "evaluate",
        "export",
        "report",
        "list",
        "doctor",
    }


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*sphinx, "-d", str(tmp_path / "trees"), str(ROOT / "docs"), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
