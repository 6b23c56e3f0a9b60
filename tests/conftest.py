"""What all tests share: seeds that can be multiplied, small problems, hypothesis without deadlines.

``pytest --seeds 10`` runs every test that takes ``seed`` ten times; a Monte Carlo test must pass for each.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator

if sys.dont_write_bytecode:
    # Starting this process, its workers and the commands that tests start is for the most part compiling, if each of them has
    # to do it anew. What they keep is what Python keeps by default, and git ignores it.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
import torch
from hypothesis import settings
from torch import Tensor

settings.register_profile("quick", deadline=None, max_examples=10, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("quick")  # `make test-all` asks for the other
torch.set_num_threads(1)
gc.set_threshold(20_000, 20, 50)  # a fifth of the time went into looking for garbage

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell has started the tests in the background; commands that they start and interrupt would not hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)

Z = 5.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--seeds``."""
    parser.addoption(
        "--seeds", type=int, default=1, help="seeds for tests that draw random numbers"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives ``seed`` its values."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: no search for garbage looks at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def source(seed: int) -> torch.Generator:
    """A generator of random numbers."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def blobs() -> tuple[Tensor, Tensor]:
    """Three overlapping classes of 5 numbers, 60 examples."""
    source = torch.Generator().manual_seed(7)
    y = torch.arange(60) % 3
    centres = torch.randn(3, 5, generator=source)
    return 1.5 * centres[y] + torch.randn(60, 5, generator=source), y


@pytest.fixture
def pictures() -> tuple[Tensor, Tensor]:
    """Images ``[48, 4, 6, 6]`` of three classes that differ in the strength of one channel."""
    source = torch.Generator().manual_seed(8)
    y = torch.arange(48) % 3
    x = torch.randn(48, 4, 6, 6, generator=source)
    x[:, 0] += y[:, None, None]
    return x, y


_TIMED = ("test_latency", "test_clock", "test_benchmarks")
"""Modules in which times themselves are looked at."""


@pytest.fixture(scope="module", autouse=True)
def _short_readings(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the time of a network is one number among others, a few short readings of it are enough."""
    from netdial.measure import latency

    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem not in _TIMED:
            patch.setattr(latency, "_QUIET_S", 0.002)
            patch.setattr(latency, "_LEAST_WINDOWS", 2)
            patch.setattr(latency, "_MOST_WINDOWS", 4)
        yield


@contextlib.contextmanager
def _no_file_above(size: int) -> Iterator[None]:
    import resource  # not on every system

    usual, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, most))


@pytest.fixture
def no_file_above() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """``with no_file_above(size):`` real writes fail in the middle, after ``size`` bytes, as on a full disk."""
    return _no_file_above
