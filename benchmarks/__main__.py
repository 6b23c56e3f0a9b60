"""``python -m benchmarks``: list the figures, or measure one."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from importlib import import_module
from pathlib import Path

_WITHOUT_FIGURES = {"common", "networks"}


def modules() -> dict[str, str]:
    """Returns the module of each figure, by its name; files that begin with an underscore are helpers of their folder."""
    here = Path(__file__).parent
    found = {}
    for path in here.rglob("[!_]*.py"):
        inner = path.relative_to(here).with_suffix("").parts
        if inner[0] not in _WITHOUT_FIGURES:
            found[path.stem.replace("_", "-")] = ".".join(["benchmarks", *inner])
    return dict(sorted(found.items()))


def main() -> int:
    """Runs the command line; returns its exit code."""
    figures = modules()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=["list", *figures], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="a smaller version, within a minute")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    options = parser.parse_args()
    if options.name == "list":
        for name, place in figures.items():
            first = (import_module(place).__doc__ or "").splitlines()[0]
            print(f"{name:16} {first}")
        return 0
    module = import_module(figures[options.name])
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        result = module.measure(quick=options.quick)
    result.seconds = time.perf_counter() - start
    print(result.to_json()) if options.json else result.show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
