"""Operations of a trace in those of ONNX, and what ONNX Runtime takes for something else."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Returns operations of a trace, and what gives the same in operations of ONNX."""
    aten = torch.ops.aten
    return {
        aten._cdist_forward.default: _distances,
        aten.diagonal_scatter.default: _diagonal_written,
    }


def _distances(x: Any, y: Any, p: float, compute_mode: int | None = None) -> Any:
    """Returns ``torch.cdist``.

    Raises:
        NotImplementedError: the distances are neither sums of absolute differences nor Euclidean.
    """
    ops: Any = import_module("onnxscript").opset18
    apart = ops.Sub(ops.Unsqueeze(x, [-2]), ops.Unsqueeze(y, [-3]))
    if p == 2:
        return ops.ReduceL2(apart, [-1], keepdims=0)
    if p == 1:
        return ops.ReduceL1(apart, [-1], keepdims=0)
    raise NotImplementedError(f"distances of order {p}")


def _diagonal_written(x: Any, y: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Returns a copy with another diagonal, of matrices whose sizes are known."""
    ops: Any = import_module("onnxscript").opset18
    rank = len(x.shape)
    last = [dim % rank for dim in (dim1, dim2)]
    order = [dim for dim in range(rank) if dim not in last] + last
    n, m = (int(x.shape[dim]) for dim in last)
    lines, along = (n, -1) if offset >= 0 else (m, -2)  # a number for each row, or for each column
    missing = [0] * (2 * rank - 3) + [lines - int(y.shape[-1])]
    there = ops.Cast(ops.EyeLike(ops.ConstantOfShape([n, m]), k=offset), to=_BOOLEAN)
    found = ops.Where(
        there, ops.Unsqueeze(ops.Pad(y, missing), [along]), ops.Transpose(x, perm=order)
    )
    return ops.Transpose(found, perm=[order.index(dim) for dim in range(rank)])


_BOOLEAN = 9
"""ONNX's number of the type of booleans."""


def tidied(model: Any) -> None:
    """Takes what is not needed out of a graph, in place, lines of the code that it was traced from as well."""
    import_module("onnxscript.optimizer").fold_constants(model)
    common = import_module("onnx_ir.passes.common")
    for tidy in (
        common.IdentityEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        tidy(model)
    _keep_apart(model)


def _keep_apart(model: Any) -> None:
    """Keeps zeros before a pooling of the largest numbers, in place: ONNX Runtime takes them for a padding by -∞."""
    ir = import_module("onnx_ir")
    for pool in [node for node in model.graph if node.op_type == "MaxPool"]:
        padded = pool.inputs[0]
        if padded.producer() is not None and padded.producer().op_type == "Pad":
            between = ir.node("Max", [padded, padded])
            model.graph.insert_before(pool, between)
            pool.replace_input_with(0, between.outputs[0])
