"""Checkpoints: what goes in comes out bit by bit; a damaged file says so; a full disk leaves the old one intact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import CheckpointError
from netdial.train.checkpoint import load_tree, save_tree

plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
)
tensors = st.sampled_from(
    [torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16]
).map(lambda dtype: torch.arange(6).view(2, 3).to(dtype))
keys = st.text(max_size=4) | st.integers(0, 9)
trees = st.recursive(
    plain | tensors,
    lambda t: st.lists(t, max_size=3) | st.dictionaries(keys, t, max_size=3),
    max_leaves=8,
)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(v, second[k]) for k, v in first.items())
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


@given(tree=trees)
def test_reading_is_the_inverse_of_writing(
    tree: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("trees") / "tree.safetensors"
    save_tree(path, {"tree": tree}, "test")
    assert same(load_tree(path, "test")["tree"], tree)


def test_awkward_values_survive(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    shared = torch.randn(4)
    tree = {
        "inf": float("inf"),
        "twice": [shared, shared],
        "view": shared[::2],
        "empty": torch.empty(0, 3),
        "": {},
    }
    save_tree(path, tree, "test")
    assert same(load_tree(path, "test"), tree)


def test_tuples_come_back_as_lists(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", {"betas": (0.9, 0.999)}, "test")
    assert load_tree(tmp_path / "tree", "test") == {"betas": [0.9, 0.999]}


def test_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none.safetensors: there is no such file"):
        load_tree(tmp_path / "none.safetensors", "test")


@pytest.mark.parametrize("damage", ["cut", "flipped header", "text", "empty", "folder"])
def test_damaged_file_is_said_to_be_damaged(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tree.safetensors"
    save_tree(path, {"x": torch.randn(100)}, "test")
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(
            {
                "cut": whole[: len(whole) // 2],
                "flipped header": whole[:20] + b"\xff" * 10 + whole[30:],
                "text": b"hello",
                "empty": b"",
            }[damage]
        )
    with pytest.raises(CheckpointError, match=r"tree.safetensors: not a netdial file, or damaged"):
        load_tree(path, "test")


def test_safetensors_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(CheckpointError, match="not a netdial file, or damaged"):
        load_tree(tmp_path / "other", "test")
    for header in ("[]", "{}", '{"format": 1, "kind": "test", "tree": {"tensor": "gone"}}'):
        save_file({"x": torch.zeros(2)}, tmp_path / "other", metadata={"netdial": header})
        with pytest.raises(CheckpointError, match="not a netdial file, or damaged"):
            load_tree(tmp_path / "other", "test")


def test_another_kind_or_format_is_named(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", {}, "family")
    with pytest.raises(
        CheckpointError, match="holds 'family' of format 1; expected 'checkpoint' of format 1"
    ):
        load_tree(tmp_path / "tree", "checkpoint")


def test_a_full_disk_leaves_the_old_file_intact(tmp_path: Path, no_file_above: Any) -> None:
    path = tmp_path / "state.safetensors"
    save_tree(path, {"x": torch.zeros(10)}, "test")
    wanted = r"could not be written.* is intact; free some space and resume"
    with no_file_above(20_000), pytest.raises(CheckpointError, match=wanted):
        save_tree(path, {"x": torch.randn(100_000)}, "test")
    assert torch.equal(load_tree(path, "test")["x"], torch.zeros(10))
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
