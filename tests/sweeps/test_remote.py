"""A sweep at an address: what one machine made another one reads, and goes on with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.jobs.records.watch import FinishedEpoch
from netdial.runs.run import Run
from netdial.sweeps.conductor import Told
from netdial.sweeps.remote import Remote, RemoteStore, Sending
from netdial.sweeps.run import open_sweep
from netdial.sweeps.spec import SweepSpec

from ..jobs import toy_way

Make = Callable[..., SweepSpec]


@pytest.fixture(params=["file", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address on a file system, or in the memory of this process; this machine's copies lie in a home of the test."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    return {"file": f"file://{tmp_path}/there", "memory": f"memory://{tmp_path.name}"}[
        request.param
    ]


def another_machine(tmp_path: Path) -> None:
    """Forgets what this machine has of a sweep, as one that never saw it."""
    shutil.rmtree(tmp_path / "home")


def test_what_one_machine_made_another_one_reads(toy: Make, address: str, tmp_path: Path) -> None:
    found = nd.sweep(toy(storage=address))
    another_machine(tmp_path)
    again = open_sweep("toy", address)
    assert again.counts == found.counts and again.counts["done"] == 4
    assert [t.measures for t in again.trials] == [t.measures for t in found.trials]
    assert Run.open(again.best().run).is_done
    another_machine(tmp_path)
    told: list[Told] = []
    assert nd.sweep(toy(storage=address, trials=5), report=told.append).counts["done"] == 5
    assert [one.number for one in told if one.state == "running"] == [4]


def test_another_machine_goes_on_from_the_last_checkpoint_that_was_sent(
    toy: Make, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nd.sweep(toy(name="whole", trials=1, storage=address))
    spec = toy(trials=1, storage=address)
    monkeypatch.setattr(toy_way, "STOP_AFTER", 2)
    with pytest.raises(KeyboardInterrupt):
        nd.sweep(spec)
    store = RemoteStore(spec.path, address=spec.address)
    cell = spec.cell(open_sweep("toy", address).trials[0].params)
    inner = str(store.path(cell).relative_to(store.folder))
    store.remote.send(inner)  # as after an epoch
    another_machine(tmp_path)
    starts = list[int]()
    train = toy_way.TOY.train
    object.__setattr__(toy_way.TOY, "train", lambda work: starts.append(work.step) or train(work))
    monkeypatch.setattr(toy_way, "STOP_AFTER", 0)
    try:
        found = nd.sweep(spec)
    finally:
        object.__setattr__(toy_way.TOY, "train", train)
    assert starts == [2]
    assert found.trials[0].measures == whole.trials[0].measures


def test_done_is_sent_last_and_an_address_that_cannot_be_is_refused(
    toy: Make, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x" / "run" / "checkpoint").mkdir(parents=True)
    for name in ("DONE", "checkpoint/last", "records.jsonl", "a"):
        (tmp_path / "x" / "run" / name).write_text(name)
    remote, sent = Remote(address, tmp_path / "x"), list[str]()
    system = remote._at[0]
    put = type(system).put_file
    monkeypatch.setattr(
        type(system), "put_file", lambda s, a, b: (sent.append(Path(a).name), put(s, a, b))
    )
    remote.send("run")
    assert sent == ["a", "records.jsonl", "last", "DONE"]
    with pytest.raises(ConfigError, match=r"nowhere://x.*cannot be opened"):
        nd.sweep(toy(storage="nowhere://x"))


def test_what_did_not_change_is_not_sent_again_and_sending_takes_a_fifth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, now, sent = tmp_path / "x" / "run", [0.0], list[str]()
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    remote = Remote("memory://fifth", tmp_path / "x")
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def put(self: Remote, file: Path, name: str) -> None:
        sent.append(file.name)
        now[0] += 1.0  # a second for each file

    monkeypatch.setattr(Remote, "_put", put)
    sending = Sending(remote, "run")
    for epoch in range(1, 11):
        (run / "records.jsonl").write_text("x" * epoch)
        sending.epoch(FinishedEpoch(epoch, 10))
        now[0] += 1.0
    assert sent == ["config.json", "records.jsonl", "records.jsonl"]
