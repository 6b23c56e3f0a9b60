"""Checkpoints: what goes in comes out bit by bit; a damaged file says so; a full disk leaves the old one intact."""

from __future__ import annotations

import errno
import json
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import CheckpointError, WriteError
from netdial.core.storage import container
from netdial.core.storage.boundary import UncheckedFile, seal
from netdial.core.storage.container import load_tree, read_header, save_tree
from netdial.core.storage.files import write_atomic

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
        with (
            warnings.catch_warnings(action="ignore", category=UncheckedFile),
            pytest.raises(CheckpointError, match="not a netdial file, or damaged"),
        ):
            load_tree(tmp_path / "other", "test")


def test_another_kind_or_format_is_named(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", {}, "family")
    with pytest.raises(CheckpointError, match="holds 'family'; expected 'checkpoint'"):
        load_tree(tmp_path / "tree", "checkpoint")


def test_a_full_disk_leaves_the_old_file_intact(tmp_path: Path, no_file_above: Any) -> None:
    path = tmp_path / "state.safetensors"
    save_tree(path, {"x": torch.zeros(10)}, "test")
    wanted = r"could not be written.* is intact; free some space"
    with no_file_above(20_000), pytest.raises(CheckpointError, match=wanted):
        save_tree(path, {"x": torch.randn(100_000)}, "test")
    assert torch.equal(load_tree(path, "test")["x"], torch.zeros(10))
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


TREE = {"lam": 0.1, "net": {"w": torch.randn(20), "b": torch.tensor([True, False])}, "n": [1, 2]}


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    save_tree(path, TREE, "test")
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="tree"):
            load_tree(path, "test")


def rewrite(path: Path, change: Any) -> None:
    """Changes the header's JSON of a file and leaves its tensors as they are."""
    whole = path.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    outer = json.loads(whole[8 : 8 + size])
    outer["__metadata__"]["netdial"] = json.dumps(
        change(json.loads(outer["__metadata__"]["netdial"]))
    )
    text = json.dumps(outer).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])


def test_an_edited_header_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    save_tree(path, TREE, "test")

    def edit(header: Any) -> Any:
        text = json.dumps(header)
        assert '"value": 0.1' in text
        return json.loads(text.replace('"value": 0.1', '"value": 0.2'))

    rewrite(path, edit)
    with pytest.raises(CheckpointError, match="changed after it was written"):
        load_tree(path, "test")
    with pytest.raises(CheckpointError, match="changed after it was written"):
        read_header(path)


def test_changed_numbers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    save_tree(path, {"x": torch.zeros(4)}, "test")
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + struct.pack("<f", float("nan")))
    with pytest.raises(CheckpointError, match=r"digest of tensor '/x' differs"):
        load_tree(path, "test")


def test_a_file_without_digests_is_read_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old"
    save_tree(path, TREE, "test")

    def old(header: Any) -> Any:
        return {"format": 1, "kind": header["kind"], "tree": header["tree"]}

    rewrite(path, old)
    with pytest.warns(UncheckedFile, match="carries no digests"):
        assert same(load_tree(path, "test"), TREE)
    assert read_header(path).digests is None


def nested(depth: int) -> str:
    return '{"format": 1, "kind": "test", "tree": ' + '{"list": [' * depth + "]}" * depth + "}"


@pytest.mark.parametrize(
    "header",
    [
        nested(200),
        nested(100_000),
        '{"format": 1e400, "kind": "test", "tree": {"list": []}}',
        '{"format": 1, "kind": ["test"], "tree": {"list": []}}',
        '{"format": 1, "kind": "test", "tree": {"list": [[]]}}',
        '{"format": 1, "kind": "test", "tree": {"dict": [[[], {"value": 1}]]}}',
        '{"format": 1, "kind": "test", "tree": {"dict": 7}}',
        '{"format": 1, "kind": "test", "tree": {"value": {}}}',
        '{"format": 1, "kind": "test", "tree": {"tensor": []}}',
        '{"format": ' + "9" * 5000 + "}",
        '"\\ud800"',
    ],
    ids=str.__len__,
)
def test_headers_that_mislead_are_refused_in_words(tmp_path: Path, header: str) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "other", metadata={"netdial": header})
    with (
        warnings.catch_warnings(action="ignore", category=UncheckedFile),
        pytest.raises(CheckpointError, match="other: "),
    ):
        load_tree(tmp_path / "other", "test")


def test_a_sealed_header_that_lists_other_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    save_tree(path, TREE, "test")

    def lose(header: Any) -> Any:
        content = {key: value for key, value in header.items() if key != "sha256"}
        content["tensors"] = {}
        return seal(content)

    rewrite(path, lose)
    with pytest.raises(CheckpointError, match="tensors are not those it lists"):
        load_tree(path, "test")


def test_a_newer_format_asks_for_a_newer_netdial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "FORMAT", 7)
    save_tree(tmp_path / "tree", {}, "test")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"format 7.*install the netdial"):
        load_tree(tmp_path / "tree", "test")


def test_keys_that_give_one_path_keep_their_own_tensors(tmp_path: Path) -> None:
    tree = {1: torch.zeros(1), "1": torch.ones(1), "a/b": torch.full((1,), 2.0), "a": {"b": TREE}}
    save_tree(tmp_path / "tree", tree, "test")
    assert same(load_tree(tmp_path / "tree", "test"), tree)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="no ordinary file"):
        load_tree(tmp_path / "pipe", "test")


@pytest.mark.parametrize(
    ("number", "cure"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EACCES, "not yours")],
)
def test_what_the_disk_says_comes_with_a_cure(tmp_path: Path, number: int, cure: str) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with pytest.raises(WriteError, match=f"{os.strerror(number)}.*{cure}") as caught:
        write_atomic(tmp_path / "x", refuse)
    assert caught.value.errno == number
    assert isinstance(caught.value, OSError)
    assert "intact" not in str(caught.value)


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file/tree: could not be written"):
        save_tree(tmp_path / "file" / "tree", {}, "test")


def test_sparse_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    values = [[1, 0, 1], [2, 1, 0]], [-3.0, 2.0, 1.0]
    plain = torch.sparse_coo_tensor(*values, (2, 3), check_invariants=True)
    save_tree(path := tmp_path / "tree.safetensors", {"a": [plain]}, "family")
    (found,) = load_tree(path, "family")["a"]
    assert found.is_sparse and torch.equal(found.to_dense(), plain.to_dense())
    assert container.read_plain(path) == {"a": [None]}


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_have_the_permissions_that_the_users_files_have(tmp_path: Path, umask: int) -> None:
    """Those of safetensors were for the owner alone, so that nobody else could open a run or a family."""
    path, plain = tmp_path / "tree.safetensors", tmp_path / "plain"
    before = os.umask(umask)
    try:
        save_tree(path, {"a": torch.ones(2)}, "family")
        plain.touch()
    finally:
        os.umask(before)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    save_tree(path, {"a": torch.zeros(2)}, "family")
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o400)
    with pytest.raises(CheckpointError, match="protected from writing"):
        save_tree(path, {"a": torch.ones(2)}, "family")
    assert torch.equal(load_tree(path, "family")["a"], torch.zeros(2))


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said to be damaged."""
    save_tree(tmp_path / "a.safetensors", {"a": torch.ones(2)}, "family")
    monkeypatch.setattr(os, "access", lambda *given: False)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: you may not read it.*chmod a\+r"):
        load_tree(tmp_path / "a.safetensors", "family")
