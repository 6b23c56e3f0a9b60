"""Images in requests: however they are nested, they are the same pixels; what is no pixel is refused; and how pace is kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from netdial.core.errors import DataError, ShapeError
from netdial.models.use import Pixels, Use

pytest.importorskip("fastapi")
from netdial.serve.members import Pace
from netdial.serve.requests import inputs_of

GREY, COLOURED = (1, 3, 2), (2, 3, 2)


def use(image: tuple[int, int, int]) -> Use:
    channels = image[0]
    pixels = Pixels(image=image, inputs=image, shift=(0.0,) * channels, scale=(1.0,) * channels)
    return Use(task={"name": "classification"}, pixels=pixels)


def read(rows: list[Any], image: tuple[int, int, int] = GREY) -> Any:
    return inputs_of(rows, use(image), None, torch.float32)


@pytest.mark.parametrize("image", [GREY, COLOURED])
@pytest.mark.parametrize("number", [int, float])
def test_images_flat_or_nested_are_the_same_pixels(
    image: tuple[int, int, int], number: type
) -> None:
    truth = torch.arange(2 * math.prod(image), dtype=torch.uint8).reshape(2, *image) * 9
    flat = [[number(v) for v in row] for row in truth.flatten(1).tolist()]
    nested = truth.to(torch.uint8 if number is int else torch.float32).tolist()
    forms = [flat, nested] + ([[one[0] for one in nested]] if image == GREY else [])
    for rows in forms:
        found = read(rows, image)
        assert found.dtype == np.uint8
        assert np.array_equal(found, truth.numpy())


@pytest.mark.parametrize("cell", [256, -1, 2**40, 2**70, 1.5, 1e300, None, "7", [1], {"a": 1}])
def test_a_cell_that_is_no_pixel_is_refused(cell: Any) -> None:
    rows: list[Any] = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, cell]]
    with pytest.raises((DataError, ShapeError)):
        read(rows)


@pytest.mark.parametrize(
    "rows",
    [
        [[0, 1, 2, 3, 4]],
        [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4]],
        [[[0, 1], [2, 3]]],
        [[[0, 1], [2, 3], [4]]],
        [[]],
        [[[], [], []]],
        [1, 2],
        ["abcdef"],
        [[True, False, True, False, True, False]],
    ],
)
def test_rows_of_another_shape_or_kind_are_refused(rows: list[Any]) -> None:
    with pytest.raises((DataError, ShapeError)):
        read(rows)


def test_one_request_held_up_by_others_hardly_changes_the_pace() -> None:
    pace = Pace()
    assert math.isinf(pace.seconds)
    for _ in range(100):
        pace.took(1e-4)
    pace.took(0.1)
    assert pace.seconds < 5e-4
    for _ in range(40):
        pace.took(0.1)
    assert pace.seconds > 0.09
    pace.took(0.0)  # a coarse clock
    assert pace.seconds > 0


def test_whole_numbers_are_not_made_of_fractions() -> None:
    """A network of tokens takes 2.0 for 2, and 1.7 for nothing."""
    of_tokens = Use(task={"name": "classification"})
    taken = inputs_of([[1, 2.0]], of_tokens, (2,), torch.int64)
    assert isinstance(taken, torch.Tensor)
    assert taken.tolist() == [[1, 2]]
    with pytest.raises(DataError, match="a number has a fraction"):
        inputs_of([[1.7, 2]], of_tokens, (2,), torch.int64)


def test_numbers_are_read_in_the_type_of_the_network() -> None:
    of_numbers = Use(task={"name": "classification"})
    assert inputs_of([[0.1]], of_numbers, (1,), torch.float64).item() == 0.1
    assert inputs_of([[0.1]], of_numbers, (1,), torch.float32).dtype == torch.float32
    assert inputs_of([[1e39]], of_numbers, (1,), torch.float64).item() == 1e39
    with pytest.raises(DataError, match="too large for float32"):
        inputs_of([[1e39]], of_numbers, (1,), torch.float32)
