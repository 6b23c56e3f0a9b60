"""Dataset and Splits: what they refuse, and how uint8 images become numbers."""

from __future__ import annotations

import pytest
import torch

from netdial.core.errors import DataError
from netdial.data import Dataset, load_data


def test_uint8_inputs_are_normalised_per_channel() -> None:
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    shift = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    scale = torch.tensor([0.5, 0.25, 0.1])[:, None, None]
    part = Dataset(images, torch.zeros(5, dtype=torch.int64), shift, scale)
    index = torch.tensor([3, 1])
    got = part.inputs(index)
    assert got.dtype == torch.float32
    for row, i in enumerate(index):
        for c in range(3):
            want = (images[i, c].double() - shift[c].item()) * scale[c].item()
            assert torch.allclose(got[row, c].double(), want, atol=1e-5)
    assert torch.equal(part.select(index).inputs(), got)
    assert torch.equal(part.inputs()[index], got)


def test_float_inputs_pass_unchanged() -> None:
    part = Dataset(torch.randn(4, 2), torch.zeros(4, dtype=torch.int64))
    assert part.inputs() is part.x
    assert len(part) == 4
    assert len(part.select(torch.tensor([True, False, True, False]))) == 2


def test_dataset_refuses_what_cannot_be_fed() -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(DataError, match="differ in length: 4 against 3"):
        Dataset(torch.zeros(4, 2), labels)
    with pytest.raises(DataError, match="uint8 inputs need shift and scale"):
        Dataset(torch.zeros(3, 2, dtype=torch.uint8), labels)
    with pytest.raises(DataError, match="belong together"):
        Dataset(torch.zeros(3, 2), labels, shift=torch.zeros(2))
    with pytest.raises(DataError, match=r"needs inputs \[N, ...\]"):
        Dataset(torch.zeros(3), labels)


def test_parts_by_name() -> None:
    pytest.importorskip("sklearn")
    task = load_data("wine")
    assert task.part("valid") is task.valid
    assert task.input_shape == (13,)
    with pytest.raises(DataError, match="no part 'dev'"):
        task.part("dev")
