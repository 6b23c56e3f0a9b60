"""Compressed files: what is written comes back, to the bit; what was changed, cut off or made up is refused."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdial import compression
from netdial.compression import Codebook
from netdial.compression.coding import decoder, encoder, native, static
from netdial.compression.coding.packing import whole
from netdial.core.errors import CheckpointError, ConfigError, WriteError

PROFILES = ("max", "fast", "huffman")


def book(shape: tuple[int, ...], k: int = 9, zeros: float = 0.8, seed: int = 0) -> Codebook:
    source = np.random.default_rng(seed)
    values = np.sort(source.normal(size=k)).astype(np.float32)
    codes = source.integers(1, k + 1, size=shape)
    codes[source.random(shape) < zeros] = 0
    return Codebook(codes, np.concatenate([[0], values]))


def model() -> dict[str, Codebook | np.ndarray]:
    source = np.random.default_rng(1)
    return {
        "conv.weight": book((4, 3, 3, 3)),
        "0.weight": book((12, 20)),
        "0.bias": source.normal(size=12).astype(np.float32),
        "half": source.normal(size=(3, 2)).astype(np.float16),
        "seen": np.array(7, np.int64),
        "flags": np.array([True, False]),
        "bytes": np.arange(-3, 3, dtype=np.int8),
        "large": np.arange(4.0),
    }


def same(a: Codebook | np.ndarray, b: Codebook | np.ndarray) -> None:
    assert isinstance(a, Codebook) == isinstance(b, Codebook)
    if isinstance(a, Codebook) and isinstance(b, Codebook):
        a, b = a.dense(), b.dense()
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


def sealed(content: bytes) -> bytes:
    """A file's bytes up to its end, closed by a checksum that fits."""
    return content + bytes([0, 8]) + sha256(content).digest()[:8]


def chunk(kind: int, body: bytes) -> bytes:
    start = bytes([kind]) + whole(len(body)) + body
    return start + zlib.crc32(start).to_bytes(4, "little")


START = decoder.MAGIC + bytes([1, 0])


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing compiled is used."""
    monkeypatch.setattr(native, "ready", lambda: False)
    monkeypatch.setattr(decoder, "KERNELS", {})
    monkeypatch.setattr(static, "KERNELS", {})
    monkeypatch.setattr(native, "ENCODERS", {})


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_written_comes_back(tmp_path: Path, profile: str) -> None:
    wanted = model()
    told = compression.write(
        tmp_path / "a.ndz", wanted, recipe={"net": 1}, meta={"λ": [2]}, profile=profile
    )
    found = compression.read(tmp_path / "a.ndz")
    assert list(found.tensors) == list(wanted)
    assert (found.recipe, found.meta) == ({"net": 1}, {"λ": [2]})
    for name in wanted:
        same(wanted[name], found.tensors[name])
    assert compression.ledger(tmp_path / "a.ndz") == told
    assert sum(told.split.values()) == told.size == (tmp_path / "a.ndz").stat().st_size
    alone = compression.read(tmp_path / "a.ndz", names=["0.bias"])
    assert list(alone.tensors) == ["0.bias"]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PROFILES),
    st.lists(st.integers(0, 7), min_size=0, max_size=3),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_any_codebook_comes_back(profile, shape, k, zeros, signed, seed):
    made = book(tuple(shape), k, zeros, seed)
    values = made.values if signed else np.abs(made.values)
    made = Codebook(made.codes, values)
    part = encoder.encoded(made, profile)
    entry = decoder.Entry("w", part.kind, part.coder, tuple(shape), part.digest, tuple(map(len, part.sections)))  # fmt: skip
    codes, values = decoder.decoded(entry, b"".join(part.sections))
    same(made, Codebook(codes, values))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.usefixtures("python")
def test_python_alone_reads_and_writes(tmp_path: Path, profile: str) -> None:
    compression.write(tmp_path / "a.ndz", model(), profile=profile)
    found = compression.read(tmp_path / "a.ndz").tensors
    for name, wanted in model().items():
        same(wanted, found[name])


@pytest.mark.skipif(not native.ready(), reason="no C++ compiler")
@pytest.mark.parametrize("profile", ["max", "fast"])
def test_compiled_and_plain_python_give_the_same_bytes(profile, monkeypatch):
    tensors = {
        **model(),
        "image": book((6, 64), 16, 0.7),
        "all": book((5, 30), 20, 0.0),
        "one": book((9,), 1, 0.5),
    }
    tensors["all"] = Codebook(tensors["all"].codes - 1, tensors["all"].values[1:])
    fast = {name: encoder.encoded(tensor, profile) for name, tensor in tensors.items()}
    kernels = dict(decoder.KERNELS)
    monkeypatch.setattr(native, "ENCODERS", {})
    for name, tensor in tensors.items():
        assert encoder.encoded(tensor, profile) == fast[name]
        part = fast[name]
        shape = tensor.codes.shape if isinstance(tensor, Codebook) else tensor.shape
        entry = decoder.Entry(name, part.kind, part.coder, shape, part.digest, tuple(map(len, part.sections)))  # fmt: skip
        for held in (kernels, {}):
            monkeypatch.setattr(decoder, "KERNELS", held)
            monkeypatch.setattr(static, "KERNELS", held)
            decoder.decoded(entry, b"".join(part.sections))


@pytest.mark.parametrize(
    "tensor",
    [
        Codebook(np.zeros((0, 5), int), np.zeros(0)),
        Codebook(np.zeros((5, 0), int), np.array([1.0])),
        Codebook(np.zeros((3, 4), int), np.array([0.0])),
        Codebook(np.zeros((3, 4), int), np.array([-2.5])),
        Codebook(np.array(1), np.array([0.0, 3.0])),
        np.zeros((0,), np.float32),
    ],
    ids=["no rows", "no columns", "all 0", "k = 1", "a scalar", "empty array"],
)
@pytest.mark.parametrize("profile", PROFILES)
def test_small_and_empty_tensors(tmp_path: Path, tensor, profile: str) -> None:
    compression.write(tmp_path / "a.ndz", {"w": tensor}, profile=profile)
    same(tensor, compression.read(tmp_path / "a.ndz").tensors["w"])


def test_numbers_on_a_grid_take_a_byte_or_less():
    places = np.random.default_rng(0).integers(-100, 100, 300)
    dense = (places * np.float32(0.013)).astype(np.float32)
    values, codes = np.unique(dense, return_inverse=True)
    part = encoder.encoded(Codebook(codes, values), "max")
    assert part.size <= 305


@pytest.mark.parametrize("profile", PROFILES)
def test_every_flip_and_every_cut_is_noticed(tmp_path: Path, profile: str) -> None:
    path = tmp_path / "a.ndz"
    compression.write(path, {"w": book((6, 9)), "b": np.arange(3.0)}, profile=profile)
    content = path.read_bytes()
    for at in range(len(content)):
        for changed in (
            content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :],
            content[:at],
            content[:at] + content[at + 1 :],
        ):
            path.write_bytes(changed)
            with pytest.raises(CheckpointError, match=r"a\.ndz"):
                compression.read(path)
    for more in (b"\0", content):
        path.write_bytes(content + more)
        with pytest.raises(CheckpointError, match=f"{len(more)} bytes follow"):
            compression.read(path)


def test_a_later_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.ndz").write_bytes(sealed(decoder.MAGIC + bytes([7, 0])))
    with pytest.raises(
        CheckpointError, match=r"a\.ndz: has version 7, .*version 1; a newer netdial"
    ):
        compression.read(tmp_path / "a.ndz")


def test_parts_that_are_not_known_are_skipped_if_they_may_be(tmp_path: Path) -> None:
    path = tmp_path / "a.ndz"
    compression.write(path, {"b": np.arange(3.0)})
    content = path.read_bytes()[:-10]
    path.write_bytes(sealed(content + chunk(200, b"later")))
    assert compression.read(path).tensors["b"].tolist() == [0, 1, 2]
    told = compression.ledger(path)
    assert told.other == len(chunk(200, b"later")) and sum(told.split.values()) == told.size
    path.write_bytes(sealed(content + chunk(100, b"later")))
    with pytest.raises(CheckpointError, match=r"type 100 .* a newer netdial"):
        compression.read(path)


def test_small_tensors_share_a_chunk_and_large_ones_do_not(tmp_path: Path) -> None:
    path, source = tmp_path / "a.ndz", np.random.default_rng(0)
    sizes = {"a": 3, "b": 2, "none": 0, "large": 500, "c": 1, "larger": 600, "d": 4, "last": 0}
    tensors = {name: source.integers(0, 256, size).astype(np.uint8) for name, size in sizes.items()}
    compression.write(path, tensors)
    parts = [(kind, len(body)) for kind, body, _ in decoder.chunks(path.read_bytes())][1:-1]
    assert parts == [(4, 5), (2, 500), (2, 1), (2, 600), (4, 4)]
    found = compression.read(path).tensors
    assert {name: one.tolist() for name, one in found.items()} == {
        name: one.tolist() for name, one in tensors.items()
    }
    assert compression.read(path, ["c"]).tensors["c"].tolist() == tensors["c"].tolist()
    told = compression.ledger(path)
    assert sum(told.split.values()) == told.size == path.stat().st_size


def head(names: str, entries: bytes) -> bytes:
    text = ('{"names":[' + names + "]}").encode()
    pack = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, decoder.TEXT)
    packed = pack.compress(text) + pack.flush()
    return chunk(1, whole(len(text)) + whole(len(packed)) + packed + entries)


def entry(*shape: int, kind: int = 0x10, lengths: tuple[int, ...] = (3, 0, 0)) -> bytes:
    numbers = b"".join(map(whole, (len(shape), *shape)))
    return bytes([kind]) + numbers + b"hash" + b"".join(map(whole, lengths))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (head('"w"', entry(1 << 40)) + chunk(2, b"\1\0\0"), str(4 << 40)),
        (head('"w"', entry(1 << 20, 1 << 20)) + chunk(2, b"\1\0\0"), str(4 << 40)),
        (head('"w","w"', entry(2) + entry(2)) + 2 * chunk(2, b"\1\0\0"), "two tensors"),
        (head('"w"', entry(2)), "another number of tensors"),
        (head('"w"', entry(2)) + chunk(2, b"\1"), "another length"),
        (head('"w"', entry(2)) + chunk(4, b"\1\0\0\1"), "another length"),
        (head('"w","v"', 2 * entry(2)) + chunk(4, b"\1\0\0\1\0"), "'w' has another length"),
        (head('"w","v"', 2 * entry(2)) + chunk(4, b"\1\0\0"), "another number of tensors"),
        (head('"w","v"', 2 * entry(2)) + chunk(2, 2 * b"\1\0\0"), "'w' has another length"),
        (head('"w"', entry(2)) + 2 * chunk(4, b"\1\0\0"), "another number of tensors"),
        (head('"w"', entry(2) + b"x") + chunk(2, b"\1\0\0"), "longer"),
        (head('"w"', entry(2)) + chunk(2, b"\1\0\0"), "something else than was encoded"),
        (head('"w"', entry(2)) + chunk(2, b"\0\0\0"), "no values"),
        (head('"w"', entry(2, kind=0x50)) + chunk(2, b"\0\1\0"), "too early"),
        (head('"w"', entry(2, kind=0x0F, lengths=(3,))) + chunk(2, b"\1\0\0"), "type 15"),
        (head("3", entry(2)) + chunk(2, b"\1\0\0"), "name"),
        (chunk(2, b""), "head"),
    ],
)
def test_what_is_made_up_is_refused_before_memory_is_taken(tmp_path, made, said):
    path = tmp_path / "a.ndz"
    path.write_bytes(sealed(START + made))
    with pytest.raises(CheckpointError, match=said):
        compression.read(path)


def test_a_text_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = pack.compress(b"0" * (1 << 26)) + pack.flush()
    body = whole(100) + whole(len(packed)) + packed
    (tmp_path / "a.ndz").write_bytes(sealed(START + chunk(1, body)))
    with pytest.raises(CheckpointError, match="another length"):
        compression.read(tmp_path / "a.ndz")
    body = whole(1 << 40) + whole(len(packed)) + packed
    (tmp_path / "a.ndz").write_bytes(sealed(START + chunk(1, body)))
    with pytest.raises(CheckpointError, match="size in it is wrong"):
        compression.read(tmp_path / "a.ndz")


def test_a_large_tensor_of_zeros_needs_permission(tmp_path: Path) -> None:
    zeros = np.broadcast_to(np.int32(0), (1 << 7, 1 << 20))
    path = tmp_path / "a.ndz"
    compression.write(path, {"w": Codebook(zeros[:2], np.array([0.0]))})
    size = 4 * (2 << 20)
    with pytest.raises(CheckpointError, match=f"max_bytes={size}"):
        compression.read(path, max_bytes=1000)
    assert compression.read(path, max_bytes=size).tensors["w"].codes.shape == (2, 1 << 20)


def test_numbers_that_are_none_are_refused_and_infinite_ones_kept(tmp_path: Path) -> None:
    compression.write(tmp_path / "b.ndz", {"mask": np.array([0.0, -np.inf])})
    assert compression.read(tmp_path / "b.ndz").tensors["mask"].tolist() == [0.0, -np.inf]
    (tmp_path / "b.ndz").unlink()
    with pytest.raises(CheckpointError, match="b has 1 of 2"):
        compression.write(tmp_path / "a.ndz", {"b": np.array([np.nan, 1.0])})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tensors": {"w": np.zeros(2, complex)}}, "complex128"),
        ({"tensors": {"w": [1.0]}}, "list"),
        ({"tensors": {3: np.zeros(2)}}, "3"),
        ({"tensors": {}, "profile": "most"}, "most"),
        ({"tensors": {}, "recipe": {1, 2}}, "set"),
        ({"tensors": {}, "meta": {"a": float("nan")}}, "JSON"),
        ({"tensors": {"w": Codebook(np.arange(20000), np.arange(20000.0))}}, "19999"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, given, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compression.write(tmp_path / "a.ndz", **given)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ndz"
    compression.write(path, {"b": np.arange(3.0)})
    before = path.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="intact"):
        compression.write(path, {"b": np.arange(9.0)})
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_tensor_that_is_not_there_is_named(tmp_path: Path) -> None:
    compression.write(tmp_path / "a.ndz", {"b": np.arange(3.0)})
    with pytest.raises(CheckpointError, match=r"'c'.*it has b"):
        compression.read(tmp_path / "a.ndz", names=["c"])


@pytest.mark.parametrize("profile", PROFILES)
def test_made_up_bodies_under_checksums_that_fit_raise_nothing_else(tmp_path, profile):
    path = tmp_path / "a.ndz"
    source = np.random.default_rng(0)
    grid = Codebook(source.integers(0, 50, 60), np.arange(50) * np.float32(0.01))
    compression.write(path, {"w": book((6, 9)), "g": grid}, profile=profile)
    bodies = [(kind, body) for kind, body, _ in decoder.chunks(path.read_bytes())][:-1]
    for _ in range(150):
        changed = list(bodies)
        at = int(source.integers(len(bodies)))
        kind, body = changed[at]
        place = int(source.integers(len(body)))
        piece = source.bytes(int(source.integers(1, 6)))
        changed[at] = kind, body[:place] + piece + body[place + int(source.integers(0, 6)) :]
        path.write_bytes(sealed(START + b"".join(chunk(*part) for part in changed)))
        with suppress(CheckpointError):
            compression.read(path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(meta=st.dictionaries(st.text(max_size=3), PLAIN, max_size=3))
def test_plain_values_come_back(
    tmp_path_factory: pytest.TempPathFactory, meta: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.ndz"
    compression.write(path, {}, meta=meta)
    assert compression.read(path).meta == meta


def test_lists_of_objects_of_the_same_keys_stand_as_columns(tmp_path: Path) -> None:
    rows = [{"column": f"c{i}", "mean": i / 8, "missing": False} for i in range(30)]
    path = tmp_path / "a.ndz"
    told = compression.write(path, {}, meta={"rows": rows})
    assert compression.read(path).meta == {"rows": rows}
    plain = zlib.compress(json.dumps(rows).encode(), 9)
    assert told.text == told.split["text"] < 0.8 * len(plain)
    lone = compression.write(
        path, {}, meta={"rows": rows, "odd": {"": [1]}}
    )  # an object that would be taken for columns
    assert compression.read(path).meta["odd"] == {"": [1]} and lone.text > told.text


@pytest.mark.parametrize("text", ['{"":[]}', '{"":{}}', '{"":{"a":1}}', '{"":{"a":[1],"b":[]}}'])
def test_columns_that_do_not_go_together_are_refused(tmp_path: Path, text: str) -> None:
    whole_text = ('{"names":[],"meta":{"t":' + text + "}}").encode()
    pack = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, decoder.WORDS)
    packed = pack.compress(whole_text) + pack.flush()
    body = whole(len(whole_text)) + whole(len(packed)) + packed
    (tmp_path / "a.ndz").write_bytes(sealed(START + chunk(decoder.HEAD, body)))
    with pytest.raises(CheckpointError, match="text has"):
        compression.read(tmp_path / "a.ndz")
