"""Damaged compressed files, every one to be refused: flips, cuts, insertions, and made-up bodies under checksums that fit."""

from __future__ import annotations

import random
import resource
import signal
import tempfile
import zlib
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.result import Result
from netdial.compression import Codebook, read, write
from netdial.compression.coding.packing import whole
from netdial.compression.coding.static import Bytes
from netdial.core.errors import CheckpointError

FILES, QUICK = 100_000, 3_000
MEMORY, SECONDS = 1 << 30, 20
"""Bytes of address space that reading may take beyond what the process has; longest reading of one file."""


def measure(*, quick: bool) -> Result:
    """Mutates files of every profile, half of them with checksums made to fit again."""
    count, draw = QUICK if quick else FILES, random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        originals = _originals(Path(folder))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
        signal.signal(signal.SIGALRM, _late)
        try:
            tally = _tally(originals, count, draw, Path(folder, "changed"))
        finally:
            signal.alarm(0)
            resource.setrlimit(resource.RLIMIT_AS, before)
    kinds = ("changed", "checksums made to fit")
    rows: list[dict[str, object]] = [
        {"files": kind, **{o: tally[kind, o] for o in ("refused", "equal", "accepted", "foreign")}}
        for kind in kinds
    ]
    value = {
        "changed and not refused": float(tally["changed", "accepted"]),
        "foreign exceptions, hangs": float(sum(tally[kind, "foreign"] for kind in kinds)),
        "other tensors under checksums made to fit": float(tally[kinds[1], "accepted"]),
    }
    floor = f"0 of {count} files; memory bounded at {MEMORY >> 20} MiB beyond the process"
    return Result("ndz-fuzz", value, "files", "lower", [0], quick, floor=floor, rows=rows)


def _originals(folder: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Returns files of every profile, and what they hold."""
    source = np.random.default_rng(0)
    codes = source.integers(1, 17, (12, 40))
    codes[source.random(codes.shape) < 0.8] = 0
    tensors: dict[str, Codebook | np.ndarray[Any, Any]] = {
        "w": Codebook(codes, np.concatenate([[0], np.sort(source.normal(size=16))])),
        "k": Codebook(codes[:, :9].reshape(4, 3, 3, 3), np.arange(17) * 0.25),
        "b": source.normal(size=12).astype(np.float32),
    }
    made = []
    for profile in ("max", "fast", "huffman"):
        write(folder / profile, tensors, profile=profile, meta={"note": "λ"})
        made.append(((folder / profile).read_bytes(), read(folder / profile).dense()))
    return made


def _tally(
    originals: list[tuple[bytes, dict[str, Any]]], count: int, draw: random.Random, path: Path
) -> Counter[tuple[str, str]]:
    tally: Counter[tuple[str, str]] = Counter()
    for number in range(count):
        content, wanted = originals[number % len(originals)]
        refit = number % 2 == 1
        changed = _resealed(content, draw) if refit else _mutated(content, draw)
        if changed == content:
            continue
        path.write_bytes(changed)
        signal.alarm(SECONDS)
        try:
            found = read(path).dense()
            same = found.keys() == wanted.keys() and all(
                np.array_equal(found[n], wanted[n]) for n in wanted
            )
            outcome = "equal" if same and refit else "accepted"
        except CheckpointError:
            outcome = "refused"
        except Exception as error:
            outcome = "foreign"
            print(f"{number}: {type(error).__name__}: {error}")
        tally["checksums made to fit" if refit else "changed", outcome] += 1
    return tally


def _mutated(content: bytes, draw: random.Random) -> bytes:
    """Returns bytes with one change: bits flipped, a piece cut out, doubled, put in, or the end cut off or added to."""
    data, at = bytearray(content), draw.randrange(len(content))
    how = draw.randrange(6)
    if how == 0:
        for _ in range(draw.choice((1, 1, 1, 2, 8))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif how == 1:
        del data[at:]
    elif how == 2:
        del data[at : at + draw.randrange(1, 9)]
    elif how == 3:
        data[at:at] = draw.randbytes(draw.randrange(1, 9))
    elif how == 4:
        data[at : at + 4] = draw.choice((b"\xff" * 4, b"\0" * 4, b"\x80" * 4, b"\x7f" * 4))
    else:
        data += draw.randbytes(draw.randrange(1, 9))
    return bytes(data)


def _resealed(content: bytes, draw: random.Random) -> bytes:
    """Returns a file in which one chunk's body was changed and every checksum fits."""
    file, bodies = Bytes(content), []
    start = file.take(10)
    while (kind := file.take(1)[0]) != 0:
        bodies.append((kind, file.take(file.whole())))
        file.take(4)
    at = draw.randrange(len(bodies))
    bodies[at] = (bodies[at][0], _mutated(bodies[at][1] or b"\0", draw))
    for kind, body in bodies:
        chunk = bytes([kind]) + whole(len(body)) + body
        start += chunk + zlib.crc32(chunk).to_bytes(4, "little")
    return start + b"\0\x08" + sha256(start).digest()[:8]


def _late(number: int, frame: Any) -> None:
    raise TimeoutError("took too long")
