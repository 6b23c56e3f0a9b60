"""Forward of a pruned LeNet-300-100 in its fastest form over the dense one: the lecture's "three times faster", by batch."""

from __future__ import annotations

import torch

import netdial as nd
from benchmarks.common.result import Result
from benchmarks.compression.file._indices import lenet
from netdial.compression import Codebook
from netdial.measure.sparse import run_sparse

BATCHES = (1, 16, 64, 256)


def measure(*, quick: bool) -> Result:
    """Times one thread; the quick version is of a network that was trained less."""
    torch.set_num_threads(1)
    net = nd.build("mlp:300,100", input_shape=(784,), n_outputs=10)
    tensors = lenet(quick=quick)
    dense = {n: t.dense() if isinstance(t, Codebook) else t for n, t in tensors.items()}
    net.load_state_dict({n: torch.from_numpy(t) for n, t in dense.items()})
    value: dict[str, float] = {}
    rows: list[dict[str, object]] = []
    for batch in BATCHES:
        found = run_sparse(net, torch.rand(batch, 784))
        value[f"batch {batch}"] = found.speedup
        rows += [
            {
                "batch": batch,
                "layer": layer.name,
                "density": round(layer.density, 3),
                **{f"{form} ms": round(ms, 4) for form, ms in layer.ms.items()},
                "taken": layer.form,
            }
            for layer in found.layers
        ]
    return Result(
        "ndz-run",
        value,
        "ratio",
        "higher",
        [0],
        quick,
        baseline="the dense network, one thread",
        floor="3 (Han et al. 2016, batch 1)",
        rows=rows,
    )
