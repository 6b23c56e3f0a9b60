"""``python -m netdial.structure.nbtiny FILE``: trains all networks of NB-Tiny and writes their table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from netdial.structure.nbtiny.problems import PROBLEMS
from netdial.structure.nbtiny.table import RELIABLE, SEEDS, TinyTable, save_tables


def main() -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m netdial.structure.nbtiny", description=__doc__)
    parser.add_argument("file", type=Path, help="file to write")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="trainings of each network")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the products are too small for more
    tables = []
    for problem in PROBLEMS.values():
        start = time.process_time()
        table = TinyTable.trained(problem, range(options.seeds))
        tables.append(table)
        verdict = "valid" if table.valid_for_regret else f"not valid, {RELIABLE} is needed"
        print(
            f"{problem.name}: {table.test.size} trainings, {time.process_time() - start:.0f} s of processor time, "
            f"reliability {table.reliability:.3f} ({verdict}), noise {table.noise:.4f} nats"
        )
    save_tables(options.file, [table.timed() for table in tables])
    return 0


if __name__ == "__main__":
    sys.exit(main())
