"""Trials on Ray Tune: this machine, or a cluster.

Tune starts actors, places them, notices machines that are gone and shows its dashboard. What it is asked to run comes from the
conductor through a `Searcher`, so that the trials are those of every other engine, and what a trial made lies in its run folder
alone: nothing is read back from Tune, and its own files are thrown away.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from netdial.core.errors import ConfigError, NetdialError, first_line, missing_extra
from netdial.sweeps.conductor import Conductor, Piece
from netdial.sweeps.engines.registry import ENGINES, Make
from netdial.sweeps.trials.making import TrialEnd

_STARTS = 3
"""Times that Ray is started before it is given up."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 the only way to have none
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # tables may be given by paths from the working folder
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # records are in run folders
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: it says how to go on
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # the folder of the sweep is what a restart reads
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
}
"""Environment of Tune, where nobody set it."""


@ENGINES.add("ray")
def on_ray(conductor: Conductor, make: Make, workers: int) -> None:
    """Makes trials on Ray Tune: on the cluster that the spec names, that of this process, or one of its own on this machine."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray import tune
    except ImportError:
        raise missing_extra("engine ray", "ray") from None
    files = conductor.path / ".tune"
    with _cluster(ray, conductor.cluster, workers):
        shutil.rmtree(files, ignore_errors=True)
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_one, make=make, folder=os.getcwd()), {"cpu": 1}
            ),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(conductor),
                metric="seconds",
                mode="min",
                num_samples=-1,
                max_concurrent_trials=workers or None,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name="sweep", storage_path=str(files), verbose=0),
        )
        try:
            with redirect_stdout(sys.stderr):  # stdout is for results
                tuner.fit()
        finally:
            shutil.rmtree(files, ignore_errors=True)


def _one(config: Mapping[str, Any], make: Make, folder: str) -> dict[str, Any]:
    """Makes one piece of work in an actor, which stays for the next one."""
    import torch

    torch.set_num_threads(1)
    if Path(folder).is_dir():
        os.chdir(folder)
    return vars(make(config["cell"])) | {"pid": os.getpid()}


def _searcher(conductor: Conductor) -> Any:
    """Returns what tells Tune of the pieces of work of a conductor, and the conductor of their ends."""
    from ray.tune.search import Searcher

    class Pieces(Searcher):
        """Hands the pieces of work of a conductor to Tune."""

        def __init__(self) -> None:
            super().__init__(metric="seconds", mode="min")
            self._running: dict[str, Piece] = {}

        def suggest(self, trial_id: str) -> Any:
            """Returns the next piece of work; None when there is none for now, FINISHED when there will be none."""
            piece = conductor.next()
            if piece is None:
                return Searcher.FINISHED if conductor.is_over else None
            self._running[trial_id] = piece
            return {"cell": piece.cell}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            """Tells the conductor how a piece of work ended."""
            piece = self._running.pop(trial_id)
            if error or result is None:
                conductor.died(piece, "its process or its machine is gone")
                return
            conductor.ended(piece, TrialEnd(result["state"], result["seconds"], result["error"]))

        def save(self, checkpoint_path: str) -> None:
            """Saves nothing: the folder of the sweep has it all."""

        def restore(self, checkpoint_path: str) -> None:
            """Restores nothing."""

    return Pieces()


@contextmanager
def _cluster(ray: Any, address: str, workers: int) -> Iterator[None]:
    """Connects to a cluster for as long as the block lasts; without an address to one of this machine alone.

    Raises:
        ConfigError: there is no cluster at that address.
        NetdialError: Ray does not start on this machine.
    """
    if ray.is_initialized():
        yield
        return
    known = {name: os.environ[name] for name in ("NETDIAL_DATA",) if name in os.environ}
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1", **known}},
    }
    # "local": a Ray that happens to run on this machine is not ours, and one of a driver that was killed is ending
    alone = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    where: dict[str, Any] = {"address": address} if address else alone
    try:
        _knock(address)
        about = _started(ray, {**where, **options})
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"cluster={address!r}: there is no Ray cluster ({first_line(error)}); start one with ray start --head, or leave "
            "cluster out for this machine alone"
        ) from None
    url = getattr(about, "dashboard_url", None)
    if url:
        print(f"Ray's dashboard: http://{url}", file=sys.stderr)
    try:
        yield
    finally:
        ray.shutdown()


def _started(ray: Any, options: Mapping[str, Any]) -> Any:
    """Returns what Ray says of itself once it has started.

    It gives a node 30 seconds to start, which a busy machine may not manage; so it is tried a few times.

    Raises:
        NetdialError: it did not start.
    """
    for _ in range(_STARTS):
        try:
            return ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError):
            raise
        except Exception as error:  # Ray's own is a bare Exception
            said = first_line(error)
            _end_half_started(error)
    raise NetdialError(
        f"engine ray: Ray did not start on this machine, tried {_STARTS} times ({said}); nothing is lost: go on with the same "
        "command when the machine is less busy, or with engine processes"
    )


def _end_half_started(error: Exception) -> None:
    """Ends the processes of a node that did not start: Ray leaves them until this process ends, with no other hold on it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        end = getattr(frame.f_locals.get("self"), "kill_all_processes", None)
        if end is not None:
            end(check_alive=False)


def _knock(address: str) -> None:
    """Connects to the port of an address and hangs up: Ray itself waits a minute for a cluster that is not there.

    Raises:
        OSError: nobody answers.
    """
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()
