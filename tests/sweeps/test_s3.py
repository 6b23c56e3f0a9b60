"""A sweep in a bucket of an S3 server, which runs in this process; drivers are processes of their own."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import netdial as nd
from netdial.core.errors import CheckpointError
from netdial.sweeps.run import open_sweep
from netdial.sweeps.spec import SweepSpec, read_spec

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.sweeps._sweeping import drive, ends, of_training
finally:
    sys.path.remove(str(ROOT))

MISSING = [name for name in ("boto3", "flask", "moto", "s3fs") if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} (netdial[dev]): not installed"),
    pytest.mark.timeout(900),
]

SPEC: dict[str, Any] = {
    "name": "wine",
    "data": "wine",
    "way": "shrink",
    "settings": {"model": "mlp:8", "epochs": 40},
    "space": {"lam": {"low": 1e-4, "high": 1e-1, "log": True}},
    **{"trials": 2, "sampler": "random", "storage": "s3://sweeps/of/mine", "engine": "here"},
}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a server that has one empty bucket, ``sweeps``; this machine's copies lie in a home of the test."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="sweeps")
    yield client
    s3fs.S3FileSystem.clear_instance_cache()
    client.close()
    server.stop()


def keys(client: Any) -> set[str]:
    """Returns the names of all objects in the bucket."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="sweeps")
    return {one["Key"] for page in pages for one in page.get("Contents", [])}


def another_machine(spec: SweepSpec) -> None:
    """Forgets what this machine has of a sweep, as one that never saw it."""
    shutil.rmtree(spec.path)


@pytest.mark.slow
def test_a_sweep_in_a_bucket_is_killed_and_another_machine_goes_on(
    bucket: Any, tmp_path: Path
) -> None:
    spec = read_spec(SPEC)
    assert spec.path.is_relative_to(tmp_path / "home")
    process = drive(SPEC)
    while not any("/checkpoint/" in key for key in keys(bucket)):
        time.sleep(0.3)
        assert process.poll() is None, "it ended before it sent a checkpoint"
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = open_sweep("wine", SPEC["storage"])
    assert begun.counts["done"] < 2
    another_machine(spec)
    assert drive(SPEC).wait() == 0
    another_machine(spec)
    found = open_sweep("wine", SPEC["storage"])
    assert found.counts["done"] == 2 and set(ends(spec.path).values()) <= {1}
    for trial in found.trials:  # it went on: every epoch stands once in the log
        assert len((trial.run / "log.txt").read_text().splitlines()) == 40
    alone = nd.sweep(SPEC, storage=str(tmp_path / "alone"))
    assert of_training(found) == of_training(alone)


def test_a_bucket_that_is_not_there_is_refused_before_work_and_not_made(bucket: Any) -> None:
    with pytest.raises(CheckpointError, match=r"s3://sweep/of/mine/wine: could not be written"):
        nd.sweep(SPEC, storage="s3://sweep/of/mine")
    assert [one["Name"] for one in bucket.list_buckets()["Buckets"]] == ["sweeps"]


def test_a_server_that_is_not_there_is_said_to_be(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1, raising=False)
    with pytest.raises(CheckpointError, match=r"s3://sweeps/of/mine/wine: could not be read"):
        nd.sweep(SPEC)
