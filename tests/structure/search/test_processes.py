"""Two processes that share nothing but the seed derive the same genotype, whatever the order of their sets and threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netdial.structure.search import SEARCHES

SCRIPT = """
import json, sys
import netdial as nd
from test_contract import parts, space

found = {}
for name in sys.argv[1:]:
    one = nd.search(space(), *parts(), strategy=name, epochs=2, network_epochs=1, batch_size=16, lr=0.05, seed=3)
    weights = sum(float(p.detach().double().sum()) for p in one.network.parameters())
    found[name] = [{key: list(one.genotype[key]) for key in one.genotype}, weights]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_derive_the_same_genotype(tmp_path: Path) -> None:
    names = list(SEARCHES)
    told = []
    for number in ("0", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": number}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        )
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *names],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        told.append(json.loads(done.stdout.splitlines()[-1]))
    for name in names:
        assert told[0][name] == told[1][name], name
