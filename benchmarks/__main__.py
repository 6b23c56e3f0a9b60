"""``python -m benchmarks``: list the figures, or measure one."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from importlib import import_module
from pathlib import Path

_HELPERS = {"result", "timing", "mnist", "datasets", "shrinking"}


def is_figure(stem: str) -> bool:
    """Returns whether a file of this folder measures a figure; helpers are named above or begin with an underscore."""
    return stem not in _HELPERS and not stem.startswith("_")


def names() -> list[str]:
    """Returns the names of all figures."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(path.stem.replace("_", "-") for path in files if is_figure(path.stem))


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=["list", *names()], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="a smaller version, within a minute")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    options = parser.parse_args()
    if options.name == "list":
        for name in names():
            first = (
                import_module(f"benchmarks.{name.replace('-', '_')}").__doc__ or ""
            ).splitlines()[0]
            print(f"{name:16} {first}")
        return 0
    module = import_module(f"benchmarks.{options.name.replace('-', '_')}")
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        result = module.measure(quick=options.quick)
    result.seconds = time.perf_counter() - start
    print(result.to_json()) if options.json else result.show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
