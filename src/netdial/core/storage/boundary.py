"""Reading what somebody else may have written: JSON and headers of files, checked before anything is made of them.

A file may be damaged, of another kind, or made to mislead. Everything that is read from one passes here: ``parse_json`` and
``read_json`` bound size and depth, ``validated`` holds a value against types and ranges, ``seal`` and ``unseal`` notice any
change by a SHA-256 digest, ``seal_line`` and ``unseal_line`` a change of one line by its CRC-32, and ``reading`` turns whatever
an interpretation still raises into one error in words. Readers therefore list no exceptions of their own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shlex
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netdial.core.errors import CheckpointError, NetdialError

DIGEST = "sha256"
"""Key under which a sealed object keeps its digest."""

CRC = "crc"
"""Key under which a line of a file that grows keeps its CRC-32."""

_CRC_STARTS, _CRC_ENDS = f', "{CRC}": "', len('01234567"}')
_SEALED = re.compile(r', ".{3}": "[0-9a-f]{8}"}$')
"""End of a sealed line, whatever became of the key."""

MAX_DEPTH = 300
"""Deepest nesting of lists and objects that is read; files of netdial have about thirty levels."""

MAX_BYTES = 1 << 28
"""Largest JSON file that is read: 256 MiB."""

_COPY = "restore it from a copy"


class UncheckedFile(UserWarning):
    """A file of an earlier format was read, which carries no digest that would show a change."""


@contextmanager
def reading(
    where: object, said: str = "not a netdial file, or damaged", cure: str = ""
) -> Iterator[None]:
    """Turns every exception that reading raises into a ``CheckpointError``; those in words pass.

    Args:
        where: the file, for the message.
        said: what is wrong with it, in words.
        cure: what to do about it, if there is more to say.

    >>> with reading("a.json", cure="restore it"):
    ...     {}["lam"]
    Traceback (most recent call last):
    netdial.core.errors.CheckpointError: a.json: not a netdial file, or damaged (KeyError: 'lam'); restore it
    """
    try:
        yield
    except NetdialError:
        raise
    except Exception as error:  # whatever a file makes a library raise
        more = f"; {cure}" if cure else ""
        raise CheckpointError(f"{where}: {said} ({brief(error)}){more}") from error


def brief(error: BaseException, most: int = 200) -> str:
    r"""Returns an exception as one line of at most about 200 characters, its type first.

    >>> brief(ValueError("a\nb"))
    'ValueError: a b'
    """
    text = " ".join(str(error).split())
    text = text if len(text) <= most else f"{text[:most]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def regular(path: Path) -> Path:
    """Returns the path of an ordinary file.

    Raises:
        CheckpointError: there is none, it may not be read, or a folder, a pipe or a device stands in its place.
    """
    try:
        found = path.is_file()
        there = found or path.exists()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be looked at ({brief(error)})") from None
    if not there:
        raise CheckpointError(f"{path}: there is no such file")
    if not found:
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise CheckpointError(f"{path}: not a netdial file, or damaged (it is {what})")
    if not os.access(path, os.R_OK):
        raise CheckpointError(
            f"{path}: you may not read it; ask its owner for the permission (chmod a+r {shlex.quote(str(path))})"
        )
    return path


def read_json(path: Path, cure: str = _COPY) -> Any:
    """Returns what a JSON file holds.

    Raises:
        CheckpointError: it is missing, too large, not UTF-8, not JSON or nested too deeply.
    """
    with reading(path, "cannot be read", cure):
        size = regular(path).stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(
                f"{path}: has {size} bytes, more than the {MAX_BYTES} that are read; {cure}"
            )
        text = path.read_bytes()
    return parse_json(text, path, cure)


def parse_json(text: str | bytes, where: object, cure: str = _COPY) -> Any:
    """Returns the value that a JSON text stands for.

    Raises:
        CheckpointError: it is not UTF-8, not JSON, or nested too deeply.

    >>> parse_json('{"lam": 0.1}', "config.json")
    {'lam': 0.1}
    """
    with reading(where, "cannot be read: this is not JSON", cure):
        try:
            value = json.loads(text)
            if isinstance(text, bytes):
                text = text.decode()
            if "\\ud" in text.lower():  # half a surrogate pair cannot be printed
                json.dumps(value, ensure_ascii=False).encode()
        except RecursionError:
            raise _too_deep(where, cure) from None
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for outer in level
            if isinstance(outer, list | dict)
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, list | dict)
        ]
        if not level:
            return value
    raise _too_deep(where, cure)


def validated(schema: Any, value: Any, where: object, cure: str = _COPY) -> Any:
    """Returns a plain JSON value as what a schema describes.

    Types are taken at their word: a number is no text, a truth value no number. Lists fit tuples.

    Args:
        schema: a pydantic model, a dataclass, or any annotation that pydantic understands.
        value: plain JSON values.
        where: the file, for the message.
        cure: what to do about it.

    Raises:
        CheckpointError: it does not fit; the message names the first place and what stands there.

    >>> validated(tuple[int, ...], [1, 2], "splits.json")
    (1, 2)
    """
    from pydantic import ValidationError

    try:
        with reading(where, "is damaged", cure):
            return _adapter(schema).validate_json(json.dumps(value), strict=True)
    except CheckpointError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        first = error.__cause__.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        given = repr(first.get("input"))
        given = given if len(given) <= 80 else f"{given[:80]}…"
        raise CheckpointError(
            f"{where}: {place} is wrong ({first['msg'].lower()}; found {given}); {cure}"
        ) from None


@functools.cache
def _adapter(schema: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(schema)


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a JSON object with the digest of its content.

    >>> unseal(seal({"lam": 0.1}), "config.json")
    {'lam': 0.1}
    """
    return {**content, DIGEST: _digest_of(content)}


def unseal(content: Mapping[str, Any], where: object, cure: str = _COPY) -> dict[str, Any]:
    """Returns a sealed object's content.

    Raises:
        CheckpointError: its digest is missing, or is not that of the content: something was changed.
    """
    plain = {key: value for key, value in content.items() if key != DIGEST}
    if DIGEST not in content:
        raise CheckpointError(f"{where}: its digest is missing, so a change cannot be seen; {cure}")
    if content[DIGEST] != _digest_of(plain):
        raise CheckpointError(
            f"{where}: was changed after it was written (its SHA-256 digest differs); {cure}"
        )
    return plain


def seal_line(line: str) -> str:
    """Returns a JSON object on one line with the CRC-32 of its text as its last key: for files that grow line by line.

    >>> seal_line('{"step": 3}')
    '{"step": 3, "crc": "08b1f3bf"}'
    """
    return f"{line[:-1]}{_crc_of(line)}"


def unseal_line(line: str, where: object, cure: str = _COPY) -> Any:
    """Returns what a sealed line holds; one without a CRC-32, as earlier versions wrote them, as it is.

    Raises:
        CheckpointError: it is not JSON, or its CRC-32 is not that of its text: something was changed.
    """
    found = parse_json(line, where, cure)
    if not isinstance(found, dict) or (CRC not in found and not _SEALED.search(line)):
        return found
    content = line.rpartition(_CRC_STARTS)[0] + "}"
    if line != seal_line(content):
        raise CheckpointError(
            f"{where}: it was changed after it was written (its CRC-32 differs); {cure}"
        )
    return {key: value for key, value in found.items() if key != CRC}


def sealed_lines(text: str, where: object, cure: str = _COPY) -> list[str]:
    """Returns the whole lines of a file that grows; a last one that an interruption cut off is left out.

    Raises:
        CheckpointError: the last line is whole but for its end, which was changed.
    """
    *lines, rest = text.split("\n")
    _, starts, end = rest.rpartition(_CRC_STARTS)
    if starts and len(end) > _CRC_ENDS:
        raise CheckpointError(f"{where}: the last line was changed after it was written; {cure}")
    return lines


def _crc_of(line: str) -> str:
    return f'{_CRC_STARTS}{zlib.crc32(line.encode()):08x}"}}'


def file_digest(path: Path) -> str:
    """Returns the SHA-256 digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _too_deep(where: object, cure: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: is nested more than {MAX_DEPTH} levels deep, which no file of netdial is; {cure}"
    )
