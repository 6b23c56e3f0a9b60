"""NNCodec (Fraunhofer, ISO/IEC 15938-17) as a user would run it: quantise a network's numbers, code them, and read them back.

It is no dependency of netdial: ``pip install --no-deps nncodec`` builds it. It imports libraries for data sets, video and
logging that its codec does not use; those that are not there are stood in for by empty modules.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import sys
import tempfile
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_UNUSED = ("torchvision", "wandb", "h5py", "flwr", "timm", "ptflops", "torchmetrics", "cv2", "tensorflow")  # fmt: skip


def is_there() -> bool:
    """Returns whether NNCodec is installed."""
    return importlib.util.find_spec("nncodec") is not None


def coded(state: Mapping[str, Tensor], step: int, fine: int = -50) -> tuple[int, dict[str, Tensor]]:
    """Returns the bytes of a network's numbers and what is read back.

    Args:
        state: its parameters and buffers.
        step: quantisation parameter of weights; lower is finer.
        fine: that of biases and normalisation.
    """
    codec = _codec()
    numbers = {
        name: t.numpy().astype(np.float32 if t.is_floating_point() else np.int32)
        for name, t in state.items()
    }
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        settings = {"qp": step, "nonweight_qp": fine, "verbose": False, "results": folder}
        stream = codec.encode(numbers, settings)
        found = codec.decode(stream, {})
    back = {
        name: torch.from_numpy(np.ascontiguousarray(found[name])).reshape(t.shape).to(t.dtype)
        for name, t in state.items()
    }
    return len(stream), back


def _codec() -> Any:
    if not any(isinstance(finder, _Stand) for finder in sys.meta_path):
        sys.meta_path.append(_Stand())
    return importlib.import_module("nncodec.nn")


class _Empty(types.ModuleType):
    """A module in which every name is another one, or a class that takes anything."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name[0].isupper():
            return type(name, (), {"__init__": lambda self, *given, **named: None})
        return _Empty(f"{self.__name__}.{name}")

    def __call__(self, *given: Any, **named: Any) -> _Empty:
        return self


class _Stand(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for what is not installed."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the spec of an empty module for a library that the codec does not use."""
        if name.partition(".")[0] not in _UNUSED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Returns an empty module."""
        made = _Empty(spec.name)
        made.__path__ = []
        return made

    def exec_module(self, module: types.ModuleType) -> None:
        """Runs nothing."""
