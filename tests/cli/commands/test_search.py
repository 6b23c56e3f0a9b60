"""``netdial search``: from a data set to a network, its limits, its page, and going on after a stop."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_wine

import netdial as nd
from netdial.cli import main
from netdial.core.storage.container import load_tree
from netdial.jobs.search import latency
from netdial.measure.latency import Machine
from netdial.runs.folder import foreign
from netdial.runs.run import Run
from netdial.runs.searched import searched
from netdial.structure import SearchSpace, StructureCosts
from netdial.structure.latency import LatencyLookup, OperationTime
from netdial.structure.latency.table import LatencyAgreement
from netdial.structure.search import SEARCHES, job
from netdial.train import loop
from netdial.train.session import Interrupted

SMALL = [
    "--epochs",
    "3",
    "--space-options",
    "depth=1,width=8,widths=4+8,norms=plain+batch",
    "--quiet",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """Returns what a command printed as JSON."""
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    out = capsys.readouterr()
    return json.loads(out.out) if code == 0 else out.err


@pytest.mark.slow
def test_a_data_set_becomes_a_network_with_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(capsys, "search", "wine", *SMALL, "--size", "400 params")
    assert set(told["genotype"]) == {"x->h0", "h0->n1", "n1->h1", "h0->h1"}
    assert told["cost"]["params"] <= 400
    assert 0 <= told["scores"]["test/accuracy"] <= 1
    assert set(told["gap"]) == {"mixture", "inherited", "retrained"}
    assert told["baseline"]["trials"] >= 1
    assert "random" in told["verdict"]
    net = nd.load_model("runs/wine-search")
    assert sum(p.numel() for p in net.parameters()) == told["cost"]["params"]
    assert {key: "+".join(net.genotype[key]) for key in net.genotype} == told["genotype"]
    assert len(net.predict(load_wine(as_frame=True).data[:3])) == 3
    whole = answer(capsys, "export", "wine-search", "--out", "whole.safetensors")
    assert whole["max_difference"] == 0
    assert len(nd.load_model(whole["path"]).predict(load_wine(as_frame=True).data[:3])) == 3
    page = Path("runs/wine-search/report.html").read_text(encoding="utf-8")
    assert told["verdict"].partition("(")[0].strip() in page
    assert page.count("data:image/svg+xml;base64,") >= 3
    records = list(Run.open(Path("runs/wine-search")).records())
    guards = searched(records).guards
    assert guards["skips"] <= guards["most_skips"]
    assert "identities in the network" in page
    along = searched(records).gamma["n1->h1"]
    ends = [line[-1][1] for line in along.values()]
    assert sum(ends) == pytest.approx(1, abs=1e-5)
    assert answer(capsys, "list")["runs"][0]["model"] == "mlp"


@pytest.mark.slow
@pytest.mark.parametrize("strategy", list(SEARCHES))
def test_every_strategy_makes_a_run(strategy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Searches of one level, which learn structures on the training part, have no loss on the validation part to record."""
    few = "trials=3" if strategy in ("halving",) else "trials=2"
    options = ["--options", few] if "trials" in SEARCHES[strategy].model_fields else []
    words = [
        "search",
        "wine",
        *SMALL,
        "--strategy",
        strategy,
        "--network-epochs",
        "1",
        "--no-compare",
    ]
    told = answer(capsys, *words, *options)
    assert told["scores"]["valid/nll"] > 0
    losses = [record for record in Run.open(Path(told["run"])).records() if record.name == "loss"]
    assert losses
    assert Path(told["report"]).exists()
    assert foreign(Path(told["run"])) == []


@pytest.mark.slow
def test_a_search_that_is_replaced_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither its network nor the structures that it trained stay in the run that takes its place."""
    words = ["search", "wine", *SMALL, "--no-compare", "--network-epochs", "1", "--name", "one"]
    answer(capsys, *words)
    mine = Path("runs/one/structure/notes.txt")
    mine.write_text("mine")
    assert Path("runs/one/checkpoint/trials.safetensors").exists()
    settings = ["--epochs", "1", "--model", "mlp:4", "--points", "2", "--quiet"]
    answer(capsys, "fit", "wine", *settings, "--name", "one", "--overwrite")
    assert [path.name for path in Path("runs/one/model").iterdir()] == ["family.safetensors"]
    assert [path.name for path in Path("runs/one/checkpoint").iterdir()] == ["last.safetensors"]
    assert [path.name for path in mine.parent.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_a_search_that_a_full_disk_ends_can_be_started_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    words = ["search", "wine", *SMALL, "--no-compare", "--network-epochs", "1", "--name", "one"]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_tree", full)
        assert "nothing of it was saved" in answer(capsys, *words, code=2)
    assert not Path("runs/one").exists()
    assert answer(capsys, *words)["scores"]["valid/nll"] > 0


@pytest.mark.slow
def test_trials_are_recorded_and_not_made_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["search", "diabetes", *SMALL, "--strategy", "random", "--options", "trials=3"]
    words += ["--starts", "2"]
    whole = answer(capsys, *words, "--name", "whole")
    made, stops = [], [3, 5]
    real = job.try_network

    def stopping(net: Any, *args: Any, **more: Any) -> Any:
        made.append(net.genotype)
        if len(made) in stops:
            raise Interrupted("stopped at step 1")
        return real(net, *args, **more)

    monkeypatch.setattr(job, "try_network", stopping)
    assert main([*words, "--name", "parts"]) == 130
    kept = load_tree(Path("runs/parts/checkpoint/trials.safetensors"), "trials of a search")
    assert len(kept["search"]) == 2
    assert main([*words, "--name", "parts", "--resume"]) == 130
    kept = load_tree(Path("runs/parts/checkpoint/trials.safetensors"), "trials of a search")
    assert len(kept["search"]) == 3 and "candidate" not in kept
    parts = answer(capsys, *words, "--name", "parts", "--resume")
    # the third structure again; the usual one twice; two structures from a second start; the best one for good
    assert len(made) == 3 + 1 + 2 + 2 + 1
    for same in ("genotype", "cost", "scores"):
        wanted = {k: v for k, v in whole[same].items() if k != "seconds"}
        assert {k: v for k, v in parts[same].items() if k != "seconds"} == wanted
    rows = searched(Run.open(Path("runs/parts")).records()).trials
    wanted = [("candidate", 3), ("search", 3)]
    assert sorted(Counter(row.role for row in rows).items()) == wanted


@pytest.mark.slow
def test_a_search_by_gradient_goes_on_bit_for_bit(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "wine", *SMALL, "--no-compare"]
    whole = answer(capsys, *words, "--name", "whole")

    class Stop:
        def __init__(self) -> None:
            self.steps = 0

        def __call__(self, *given: Any) -> None:
            self.steps += 1
            if self.steps == 4:
                os.kill(os.getpid(), signal.SIGINT)

    from netdial.jobs.records.watch import Watch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "advance", Stop())
        assert main([*words, "--name", "parts"]) == 130
    parts = answer(capsys, *words, "--name", "parts", "--resume")
    for same in ("genotype", "scores", "gap"):
        assert parts[same] == whole[same]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--space", "mpl"], "mlp"),
        (["--strategy", "dart"], "darts"),
        (["--strategy", "random", "--options", "trial=3"], "trials"),
        (["--space-options", "dept=3"], "depth"),
        (["--size", "20"], "20"),
        (["--size", "5 params"], "nearest"),
        (["--size", "1k params", "--max-latency-ms", "1"], "two limits"),
        (["--size", "0.5 ms"], "max_latency_ms"),
        (["--max-latency-ms", "0"], "max-latency-ms|max_latency_ms"),
        (["--devices", "2"], "devices"),
        (["--penalty", "cheap"], "0.1 params"),
        (["--penalty", "0.1 params", "--strategy", "random"], "by gradient"),
        (["--strategy", "family", "--options", "lo=2"], "lo=2"),
        (["--latency-table", "t.json"], "penalty"),
    ],
)
def test_bad_input_is_refused_before_a_folder_is_made(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert main(["search", "wine", *SMALL[:2], *words, "--quiet"]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not Path("runs").exists() or not any(Path("runs").glob("[!.]*"))


def timed(space: SearchSpace) -> LatencyLookup:
    """Returns a table as of a clock that takes a millisecond for every thousand numbers of an operation."""
    rows = {
        edge: {name: OperationTime(count / 1000, 0.0, 5) for name, count in row.items()}
        for edge, row in StructureCosts(space).params.items()
    }
    fits = LatencyAgreement((1.0, 2.0), (1.0, 2.0), 0.0, 0.0, 1.0, 1.0)
    return LatencyLookup(space.fingerprint, Machine.here(), 1, rows, agreement=fits)


@pytest.mark.slow
def test_a_limit_of_latency_is_kept_when_it_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks are timed by a clock of the test: a fifth more than the operations together."""
    from netdial.structure.search import limits

    def slower(net: Any, shape: Any, batch: int) -> float:
        return 1.2 * sum(p.numel() for p in net.parameters()) / 1000

    monkeypatch.setattr(latency, "measure_table", timed)
    monkeypatch.setattr(limits, "measure_network", slower)
    told = answer(capsys, "search", "wine", *SMALL, "--max-latency-ms", "0.24", "--no-compare")
    assert told["cost"]["ms"] == pytest.approx(1.2 * told["cost"]["params"] / 1000)
    assert told["cost"]["ms"] <= 0.24
    err = answer(
        capsys, "search", "wine", *SMALL, "--max-latency-ms", "0.01", "--name", "b", code=2
    )
    assert "nearest" in err


@pytest.mark.slow
def test_what_was_measured_of_networks_stays_over_a_stop(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine may not change which structures are within the limit of a search that goes on."""
    from netdial.structure.search import limits

    def quiet(net: Any, shape: Any, batch: int) -> float:
        return sum(p.numel() for p in net.parameters()) / 1000

    def busy(net: Any, shape: Any, batch: int) -> float:
        return 10.0

    def stopping(net: Any, *args: Any, **more: Any) -> Any:
        made.append(net.genotype)
        if len(made) == 3:
            raise Interrupted("stopped at step 1")
        return real(net, *args, **more)

    made, real = [], job.try_network
    monkeypatch.setattr(latency, "measure_table", timed)
    monkeypatch.setattr(limits, "measure_network", quiet)
    words = ["search", "wine", *SMALL, "--max-latency-ms", "0.24", "--no-compare"]
    whole = answer(capsys, *words, "--name", "whole")
    monkeypatch.setattr(job, "try_network", stopping)
    assert main([*words, "--name", "parts"]) == 130
    monkeypatch.setattr(limits, "measure_network", busy)
    parts = answer(capsys, *words, "--name", "parts", "--resume")
    for same in ("genotype", "scores"):
        assert parts[same] == whole[same]
    assert parts["cost"]["ms"] == whole["cost"]["ms"] <= 0.24


def test_one_search_gives_structures_along_lambda(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--strategy", "family", "--options", "count=3,lo=0.01,hi=30", "--no-compare"]
    told = answer(capsys, "search", "wine", *SMALL, *words)
    assert [point["lam"] for point in told["front"]] == pytest.approx(
        [0.01, 0.3**0.5, 30], rel=1e-3
    )
    sizes = [point["params"] for point in told["front"]]
    assert sizes == sorted(sizes, reverse=True)
    assert told["gap"]["retrained"] == min(point["loss"] for point in told["front"])
    run = Run.open(Path("runs/wine-search"))
    assert {row.role for row in searched(run.records()).trials} == {"front"}
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Structures along λ" in page
    assert page.count("Graph at λ") == 3
    assert "probability (middle λ)" in page


@pytest.mark.slow
def test_fbnets_product_is_given_on_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "measure_table", timed)
    words = ["search", "wine", *SMALL, "--no-compare", "--penalty"]
    assert answer(capsys, *words, "0.2 log^0.6 us")["cost"]["params"] > 0
    assert Path("runs/wine-search/latency.json").exists()
    assert "smaller unit" in answer(capsys, *words, "0.2 log^0.6 s", "--name", "b", code=2)
