"""Time from a file to a network that answers: compressed LeNet-300-100 against safetensors of the dense one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.common.result import Result
from benchmarks.common.timing import interleaved
from benchmarks.compression.file._indices import NET, lenet
from netdial.compression import to_safetensors, write

_COLD = """
import torch, netdial as nd
net = {load}
net(torch.zeros(1, 784))
"""
_BUILT = 'nd.build("mlp:300,100", input_shape=(784,), n_outputs=10)'


def measure(*, quick: bool) -> Result:
    """Loads in turn, in this process and in fresh ones; the quick version in fewer rounds."""
    import torch
    from safetensors.torch import load_file

    import netdial as nd

    def dense(path: Path) -> None:
        net = nd.build("mlp:300,100", input_shape=(784,), n_outputs=10)
        net.load_state_dict(load_file(path))
        net.eval()(torch.zeros(1, 784))

    def small(path: Path) -> None:
        nd.load_model(path)(torch.zeros(1, 784))

    def cold(load: str) -> None:
        subprocess.run([sys.executable, "-c", _COLD.format(load=load)], check=True)

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "dense.safetensors")
        files = {profile: Path(folder, f"{profile}.ndz") for profile in ("max", "fast")}
        for profile, path in files.items():
            write(path, lenet(quick=quick), recipe={"net": NET}, profile=profile)
        to_safetensors(files["max"], plain)
        warm: dict[str, Callable[[], None]] = {"safetensors": partial(dense, plain)}
        opened = f"{_BUILT}; from safetensors.torch import load_file; net.load_state_dict(load_file({str(plain)!r}))"
        fresh: dict[str, Callable[[], None]] = {"safetensors": partial(cold, opened)}
        for profile, path in files.items():
            warm[profile] = partial(small, path)
            fresh[profile] = partial(cold, f"nd.load_model({str(path)!r})")
        seconds, ratios, spreads = interleaved(
            warm, baseline="safetensors", rounds=5 if quick else 21
        )
        cold_s, cold_ratios, cold_spreads = interleaved(
            fresh, baseline="safetensors", rounds=2 if quick else 7
        )
    value = {f"{n}, same process": r for n, r in ratios.items()}
    value |= {f"{n}, fresh process": r for n, r in cold_ratios.items()}
    spread = {f"{n}, same process": s for n, s in spreads.items()}
    spread |= {f"{n}, fresh process": s for n, s in cold_spreads.items()}
    rows = [
        {"file": n, "ms": 1000 * seconds[n], "ms, fresh process": 1000 * cold_s[n]} for n in seconds
    ]
    return Result("ndz-load", value, "ratio", "lower", [0], quick, "safetensors of the dense network", "reach: 3", spread, rows)  # fmt: skip  # noqa: E501
