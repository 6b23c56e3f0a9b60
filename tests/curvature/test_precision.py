"""Blocks joined with a prior against dense matrices and finite differences in the prior."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from netdial.core.errors import NonFiniteError
from netdial.curvature import Factors
from netdial.curvature.precision import Block, DenseBlock, DiagonalBlock, KroneckerBlock

F64 = torch.float64


def psd(size: int, rank: int, source: torch.Generator) -> Tensor:
    root = torch.randn(size, rank, dtype=F64, generator=source)
    return root @ root.T


def block_and_matrix(shape: str, seed: int) -> tuple[Block, list[int], Tensor]:
    """Returns a block, the lengths of its leaves and its dense matrix."""
    source = torch.Generator().manual_seed(seed)
    if shape == "diagonal":
        values = torch.rand(5, dtype=F64, generator=source)
        return DiagonalBlock("w", values), [5], torch.diag(values)
    if shape == "dense":
        matrix = psd(7, 4, source)
        return DenseBlock(("w", "b", "c"), (4, 2, 1), matrix), [4, 2, 1], matrix
    bias = "b" if shape == "kronecker" else None
    factors = Factors("w", bias, psd(4, 3, source), psd(3, 3, source))
    lengths = [9, 3] if bias else [12]
    return KroneckerBlock(factors), lengths, factors.dense()


SHAPES = ["diagonal", "dense", "kronecker", "kronecker-without-bias"]
logs = st.floats(-3, 3)


@settings(max_examples=12)
@given(st.sampled_from(SHAPES), st.integers(0, 100), st.lists(logs, min_size=3, max_size=3), logs)
def test_everything_is_that_of_the_dense_matrix(
    shape: str, seed: int, log_prior: list[float], log_scale: float
) -> None:
    block, lengths, matrix = block_and_matrix(shape, seed)
    log_var = torch.tensor(log_prior[: len(lengths)], dtype=F64, requires_grad=True)
    scale = torch.tensor(log_scale, dtype=F64).exp()
    joined = block.join(log_var.detach().exp(), scale)

    def log_det(u: Tensor) -> Tensor:
        deviation = (0.5 * u).exp().repeat_interleave(torch.tensor(lengths))
        whole = torch.eye(len(matrix), dtype=F64) + scale * deviation[:, None] * matrix * deviation
        return torch.logdet(whole)

    assert len(block.names) == len(lengths)
    torch.testing.assert_close(joined.log_det, log_det(log_var).detach())
    (slope,) = torch.autograd.grad(log_det(log_var), log_var)
    torch.testing.assert_close(joined.effective, slope)
    second = torch.autograd.functional.hessian(log_det, log_var.detach())
    torch.testing.assert_close(joined.second, second, rtol=1e-8, atol=1e-10)
    assert torch.linalg.eigvalsh(joined.second).min() > -1e-10
    v = torch.randn(len(matrix), dtype=F64, generator=torch.Generator().manual_seed(seed))
    prior = log_var.detach().exp().repeat_interleave(torch.tensor(lengths))
    expected = torch.linalg.solve(scale * matrix + torch.diag(1 / prior), v)
    torch.testing.assert_close(joined.solve(v), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_effective_parameters_run_from_none_to_the_rank(shape: str) -> None:
    block, lengths, matrix = block_and_matrix(shape, 0)
    one = torch.ones((), dtype=F64)
    rank = int(torch.linalg.matrix_rank(matrix))
    for prior, expected in ((1e-9, 0), (1e9, rank)):
        joined = block.join(torch.full((len(lengths),), prior, dtype=F64), one)
        assert float(joined.effective.sum()) == pytest.approx(expected, abs=1e-3)


def test_a_matrix_with_a_negative_eigenvalue_is_refused() -> None:
    block = DenseBlock(("w",), (2,), torch.tensor([[1.0, 0], [0, -1]], dtype=F64))
    with pytest.raises(NonFiniteError, match="negative eigenvalue or the prior variances"):
        block.join(torch.tensor([4.0], dtype=F64), torch.ones((), dtype=F64))
