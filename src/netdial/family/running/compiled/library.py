"""The compiled operation: built once on each machine by its own C++ compiler, kept in the user's cache folder.

The folder's name is a digest of all that the outcome depends on: the sources, torch, the compiler's options and the processor,
whose instructions are used. A build goes on in a folder of its own and is moved into place when it is done, so that processes
that build at once, or die meanwhile, cannot disturb one another.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from netdial.core.errors import ConfigError, first_line
from netdial.core.storage.files import write_atomic

VARIABLE = "NETDIAL_COMPILED"
"""Environment variable; 0 makes every training take torch's own operations."""

_HERE = Path(__file__).parent
_OPTIONS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-freciprocal-math",
    "-fno-signed-zeros",
)
_CURE = "leave compiled out: torch's own operations come to the same but for rounding"


def is_off() -> bool:
    """Returns whether the environment says that nothing compiled is to be used."""
    return os.environ.get(VARIABLE) == "0"


def missing() -> str:
    """Returns what a build lacks on this machine, in words; empty if nothing."""
    from torch.utils import cpp_extension

    compiler = cpp_extension.get_cxx_compiler()
    if shutil.which(compiler) is None:
        return f"no C++ compiler ({compiler!r} is not there)"
    return "" if cpp_extension.is_ninja_available() else "no ninja (pip install ninja)"


def built_file() -> Path:
    """Returns where the built operation lies, or will lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "netdial" / f"chain_step-{_digest()}.so"


@functools.cache
def load() -> Any:
    """Returns the operation ``chain_step``, building it first if it was never built here (about half a minute).

    Raises:
        ConfigError: there is no compiler, or it failed.
    """
    path = built_file()
    if path.exists():
        try:
            torch.ops.load_library(str(path))
            return torch.ops.netdial.chain_step.default
        except (OSError, AttributeError):
            pass  # damaged, or of another system library: build it anew
    if lack := missing():
        raise ConfigError(f"compiled=True builds an operation, and there is {lack}; {_CURE}")
    try:
        _build(path)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"compiled=True: the build failed ({first_line(error)}); {_CURE}"
        ) from None
    return torch.ops.netdial.chain_step.default


def _build(path: Path) -> None:
    """Builds the operation, loads it, and keeps it where the next process finds it."""
    from torch.utils import cpp_extension

    name = "netdial_chain_step"
    with tempfile.TemporaryDirectory(prefix="netdial-") as folder:
        cpp_extension.load(
            name,
            [str(_HERE / "chain_step.cpp")],
            extra_cflags=list(_OPTIONS),
            build_directory=folder,
            is_python_module=False,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda made: _copy(Path(folder, f"{name}.so"), made))


def _copy(source: Path, to: Path) -> None:
    shutil.copyfile(source, to)


def _digest() -> str:
    sources = sorted([*_HERE.glob("*.cpp"), *_HERE.glob("*.h")])
    parts = [
        *(source.read_text() for source in sources),
        torch.__version__,
        " ".join(_OPTIONS),
        platform.machine(),
        _processor(),
    ]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _processor() -> str:
    """Returns what tells processors with different instructions apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
