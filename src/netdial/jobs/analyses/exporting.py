"""What ``netdial export`` writes of a model in a file: a member of its family, or its one network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from netdial.compression.export import to_safetensors
from netdial.core.errors import ConfigError
from netdial.family import Family
from netdial.jobs.analyses.subjects import check_lam, how_built
from netdial.models.compressed import CUT
from netdial.models.compressed import KIND as COMPRESSED
from netdial.models.derived import example_of
from netdial.models.described import described
from netdial.models.door import inspect, open_model
from netdial.models.kinds import recognise
from netdial.models.member import Exported, save_member
from netdial.models.programs.writing import write_program
from netdial.models.use import read_use
from netdial.structure.derived import DerivedNetwork


def export_file(path: Path, lam: float | None, format: str, out: Path) -> Exported:
    """Writes the model in a file in another format: the member of a family at ``lam``, or its one network.

    Raises:
        ConfigError: λ is missing or too many, the file is in that format, or does not say what its network takes.
        CheckpointError: the file is damaged, or no model.
    """
    model, about = open_model(path), dict(inspect(path).about)
    check_lam(path, model, lam)
    if isinstance(model, Family) and lam is not None:
        use = read_use(path, about)
        meta = {**about, **({} if use is None else use.alone(lam).to_json())}
        return save_member(model, lam, out, format, _example(path, model.net), meta=meta)
    if not isinstance(model, nn.Module):
        described(path, about)  # refuses tensors of which nobody knows the network
    if format != "safetensors":
        return Exported(out, format, *write_program(model, out, format, _example(path, model)))
    if recognise(path).kind != COMPRESSED:
        raise ConfigError(
            f"{path}: is in safetensors already; give --format onnx or torch-export, or copy it"
        )
    return Exported(out, format, to_safetensors(path, out), 0.0)


def _example(path: Path, net: nn.Module) -> Tensor:
    """Returns two inputs, all zeros, of the shape that the network in a file takes.

    Raises:
        ConfigError: the file does not say it.
    """
    if isinstance(net, DerivedNetwork):
        return example_of(net)
    told = how_built(recognise(path)) or {}
    net_told = told.get("net") or told.get(CUT, {}).get("about", {}).get("net")
    if not net_told:
        raise ConfigError(
            f"{path}: does not say what inputs its network takes; export it in Python, with an example of them: "
            "nd.save(model, out, example=x)"
        )
    return torch.zeros(2, *net_told["input_shape"])
