"""Compressed files, ``.ndz``: written atomically, read with every length and checksum checked; see docs/ndz.md."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from netdial.compression.codebook import Codebook
from netdial.compression.coding import decoder, native
from netdial.compression.coding.encoder import PROFILES, Packed, encoded
from netdial.compression.coding.packing import whole
from netdial.compression.coding.static import Bytes, Damaged, Newer
from netdial.compression.coding.text import packed_text
from netdial.compression.costs import Ledger, Share
from netdial.core.errors import CheckpointError, ConfigError, unknown
from netdial.core.storage.boundary import reading, regular
from netdial.core.storage.files import write_bytes

Array = np.ndarray[Any, Any]
Tensor = Codebook | Array

MAX_BYTES = 1 << 28
"""Decoded bytes that every file may have: 256 MiB."""

MAX_RATIO = 2000
"""Decoded bytes for each byte of a file, beyond ``MAX_BYTES``."""

_SMALL = 256
"""Tensors of fewer bytes that follow each other share a chunk."""

_CURE = "restore it from a copy"


@dataclass(frozen=True)
class Contents:
    """What a compressed file holds.

    Attributes:
        tensors: name -> codebook, or array that was kept exactly.
        recipe: how to build the network, plain JSON; None if the file does not say.
        meta: plain JSON values of whoever wrote it.
    """

    tensors: Mapping[str, Tensor]
    recipe: Any = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def dense(self) -> dict[str, Array]:
        """Returns all tensors as arrays."""
        return {
            name: tensor.dense() if isinstance(tensor, Codebook) else tensor
            for name, tensor in self.tensors.items()
        }


def write(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    recipe: Any = None,
    meta: Mapping[str, Any] | None = None,
    profile: str = "max",
) -> Ledger:
    """Writes tensors to a compressed file, atomically, and returns what its bytes are for.

    Args:
        path: file to write, by custom ``NAME.ndz``.
        tensors: name -> codebook; or array of numbers or truth values, kept exactly in its own type. Codebooks come back with
            each value once, in ascending order behind 0.
        recipe: how to build the network, plain JSON.
        meta: further plain JSON values.
        profile: ``max`` for the smallest file, by adaptive models; ``fast`` for speed, by static tables; ``huffman`` as in
            Deep Compression (Han et al. 2016), for comparison.

    Raises:
        ConfigError: an unknown profile, a type of numbers that the format does not have, or values that are not JSON.
        CheckpointError: a tensor holds NaN, or the disk refused the file; one that was there before is intact.
    """
    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    path = Path(path)
    for name, tensor in tensors.items():
        _check(path, name, tensor)
    content = pack(
        {n: encoded(t, profile) for n, t in tensors.items()}, tensors, recipe, meta or {}
    )
    found = _ledger(content)
    write_bytes(path, content)
    return found


def read(
    path: str | Path, names: Iterable[str] | None = None, max_bytes: int | None = None
) -> Contents:
    """Returns what a compressed file holds, after checking that nothing in it has changed.

    Args:
        path: what ``write`` wrote.
        names: tensors to decode; all by default.
        max_bytes: most bytes that decoded tensors may take; by default 256 MiB, or 2000 times the file if that is more.

    Raises:
        CheckpointError: the file is missing, damaged, changed, of a newer version, or would take more memory than allowed.
    """
    path = Path(path)
    content = _bytes(path)
    with _reading(path):
        text, entries, bodies = unpack(content)
        limit = max(MAX_BYTES, MAX_RATIO * len(content)) if max_bytes is None else max_bytes
        wanted = [entry.name for entry in entries] if names is None else list(names)
        if missing := [name for name in wanted if name not in {e.name for e in entries}]:
            raise CheckpointError(
                f"{path}: holds no tensor {missing[0]!r}; it has {', '.join(e.name for e in entries)}"
            )
        chosen = [(e, b) for e, b in zip(entries, bodies, strict=True) if e.name in set(wanted)]
        size = sum(_decoded_bytes(entry) for entry, _ in chosen)
        if size > limit:
            raise CheckpointError(
                f"{path}: says that its tensors take {size} bytes, more than the {limit} allowed for a file of "
                f"{len(content)} bytes; if you trust it, read it with max_bytes={size}"
            )
        native.ready()
        tensors: dict[str, Tensor] = {}
        for entry, body in chosen:
            with _reading(path, f"tensor {entry.name!r}: "):
                found, values = decoder.decoded(entry, body)
                tensors[entry.name] = found if values is None else Codebook(found, values)
        return Contents(tensors, text.get("recipe"), text.get("meta", {}))


def read_text(path: str | Path) -> Contents:
    """Returns recipe and plain values of a compressed file without its tensors; the whole file is checked.

    Raises:
        CheckpointError: as for ``read``.
    """
    return read(path, names=())


def ledger(path: str | Path) -> Ledger:
    """Returns what the bytes of a compressed file are for; they add up to its size.

    Raises:
        CheckpointError: as for ``read``.
    """
    path = Path(path)
    content = _bytes(path)
    with _reading(path):
        return _ledger(content)


def is_compressed(start: bytes) -> bool:
    """Returns whether a file that begins so is a compressed one, or was one before line ends were changed."""
    return start[:4] == decoder.MAGIC[:4]


def pack(
    parts: Mapping[str, Packed],
    tensors: Mapping[str, Tensor],
    recipe: Any,
    meta: Mapping[str, Any],
) -> bytes:
    """Returns the bytes of a file."""
    said = {"recipe": recipe} if recipe is not None else {}
    said |= {"meta": dict(meta)} if meta else {}
    kind, head = packed_text({**said, "names": list(parts)})
    for name, part in parts.items():
        head += _entry(part, _shape(tensors[name]))
    content = decoder.MAGIC + bytes([decoder.MAJOR, decoder.MINOR]) + _chunk(kind, head)
    content += b"".join(_chunks([b"".join(part.sections) for part in parts.values()]))
    return content + bytes([decoder.END, 8]) + sha256(content).digest()[:8]


def unpack(
    content: bytes, found: list[tuple[int, bytes, int]] | None = None
) -> tuple[dict[str, Any], list[decoder.Entry], list[bytes]]:
    """Returns text, entries and bodies of the tensors of a whole file, whose chunks may be given.

    Raises:
        Damaged: it is not as its format says.
    """
    found = list(decoder.chunks(content)) if found is None else found
    known = [(kind, body) for kind, body, _ in found if not kind & decoder.ANCILLARY]
    text, entries = decoder.head(*known[0])
    return text, entries, decoder.bodies(entries, known[1:-1])


def _ledger(content: bytes) -> Ledger:
    found = list(decoder.chunks(content))
    _, entries, _ = unpack(content, found)
    head = Bytes(next(body for kind, body, _ in found if kind in decoder.HEADS))
    head.whole()
    text = head.whole()
    rows = []
    for entry in entries:
        framing = len(_entry(Packed(entry.kind, entry.coder, entry.digest, ()), entry.shape))
        framing += sum(len(whole(length)) for length in entry.lengths)
        exact = entry.kind != decoder.CODEBOOK and len(entry.lengths) == 1
        tables, positions, symbols = (0, 0, 0) if exact else entry.lengths
        coder = next((n for n, code in PROFILES.items() if code == entry.coder), "exact")
        rows.append(
            Share(
                entry.name,
                entry.shape,
                "exact" if exact else coder,
                positions,
                symbols,
                tables,
                entry.lengths[0] if exact else 0,
                framing,
            )
        )
    other = sum(size for kind, _, size in found if kind & decoder.ANCILLARY)
    header = len(content) - other - text - sum(row.total for row in rows)
    return Ledger(len(content), tuple(rows), header, text, other)


def _entry(part: Packed, shape: tuple[int, ...]) -> bytes:
    """Returns the entry of a tensor in the head."""
    numbers = (len(shape), *shape)
    start = bytes([part.coder << 4 | part.kind]) + b"".join(map(whole, numbers)) + part.digest
    return start + b"".join(whole(len(section)) for section in part.sections)


def _chunks(bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the chunks of tensors."""
    for small, group in itertools.groupby(bodies, lambda body: len(body) < _SMALL):
        found = list(group)
        if small and len(found) > 1:
            yield _chunk(decoder.TENSORS, b"".join(found))
        else:
            yield from (_chunk(decoder.TENSOR, body) for body in found)


def _chunk(kind: int, body: bytes) -> bytes:
    start = bytes([kind]) + whole(len(body)) + body
    return start + zlib.crc32(start).to_bytes(4, "little")


def _decoded_bytes(entry: decoder.Entry) -> int:
    form = decoder.NUMBERS.get(entry.kind, "<f4")
    return prod(entry.shape) * np.dtype(form).itemsize


def _shape(tensor: Tensor) -> tuple[int, ...]:
    shape: tuple[int, ...] = (tensor.codes if isinstance(tensor, Codebook) else tensor).shape
    return shape


def _check(path: Path, name: object, tensor: object) -> None:
    """Refuses what the format does not hold."""
    if not isinstance(name, str):
        raise ConfigError(f"{name!r}: the name of a tensor is text")
    if isinstance(tensor, Codebook):
        return
    if not isinstance(tensor, np.ndarray):
        raise ConfigError(f"{name}: is a {type(tensor).__name__}; give a Codebook or an array")
    if tensor.dtype.newbyteorder("<").str not in decoder.NUMBERS.values():
        kinds = ", ".join(np.dtype(form).name for form in decoder.NUMBERS.values())
        raise ConfigError(f"{name}: holds {tensor.dtype}; a file holds {kinds}")
    if tensor.dtype.kind == "f" and np.isnan(tensor).any():
        bad = int(np.isnan(tensor).sum())
        raise CheckpointError(
            f"{path}: {name} has {bad} of {tensor.size} numbers that are NaN; such a network is of no use"
        )


def _bytes(path: Path) -> bytes:
    with reading(path, "cannot be read"):
        return regular(path).read_bytes()


def _reading(path: Path, what: str = "") -> Any:
    return _Reading(path, what)


class _Reading:
    """Turns what the decoder finds wrong with a file into a ``CheckpointError``."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Newer):
            raise CheckpointError(
                f"{self._path}: {error}; a newer netdial wrote it, then update netdial, or it is damaged, then {_CURE}"
            ) from None
        if isinstance(error, Damaged):
            raise CheckpointError(
                f"{self._path}: not a compressed network (.ndz), or damaged: {self._what}{error}; {_CURE}"
            ) from None
