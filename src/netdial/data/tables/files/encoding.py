"""The text of a file: its encoding, and what is zipped.

A byte order mark decides the encoding; without one the text is UTF-8 if it can be, else Windows-1252 or Latin-1.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from netdial.core.errors import DataError, first_line

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(content: bytes, encoding: str | None, where: str) -> tuple[str, str]:
    """Returns the text of a table and the encoding that it was read with.

    Raises:
        DataError: the content is no text, or not in the encoding given.
    """
    if encoding is None:
        encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is not None:
        try:
            return content.decode(encoding).lstrip("\ufeff"), encoding
        except (UnicodeError, ValueError) as error:
            raise DataError(
                f"{where}: is not in the encoding {encoding} ({error}); choose another one with"
                " --encoding, such as utf-8, utf-16, cp1252 or latin-1"
            ) from None
    guesses = ["utf-8", "cp1252", "latin-1"]
    start = content[:4096]
    if b"\0" in start:  # UTF-16 of Latin letters: nearly every second byte is 0
        even, odd = start[::2].count(0), start[1::2].count(0)
        if max(even, odd) < 0.1 * len(start) or min(even, odd) > 0.01 * len(start):
            raise DataError(f"{where}: damaged, or not a table: it holds binary data, no text")
        guesses = ["utf-16-le" if odd > even else "utf-16-be"]
    for guess in guesses:
        try:
            return content.decode(guess), guess
        except UnicodeError:
            continue
    raise DataError(
        f"{where}: damaged, or not a table: no text in UTF-8, UTF-16 or Latin-1; give --encoding"
    )


def content_of(path: Path, where: str) -> bytes:
    """Returns the bytes of a file, unzipped."""
    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as stream:
                return stream.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise DataError(f"{where}: damaged, or cannot be read ({first_line(error)})") from error
