"""The adaptive models compiled: built once on each machine by its C++ compiler, kept in the user's cache folder.

The kernel is a shared library of whole numbers without torch, so that it is built in a second or two; where there is no
compiler, or ``NETDIAL_COMPILED`` is 0, ``adaptive`` and ``decoder`` do the same in Python. Bytes are the same either way.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from netdial.compression.coding import adaptive
from netdial.compression.coding.static import KERNELS, Array, check
from netdial.core.storage.files import write_atomic

VARIABLE = "NETDIAL_COMPILED"
"""Environment variable; 0 leaves the compiled kernel out."""

_SOURCE = Path(__file__).with_name("kernel.cpp")
_OPTIONS = ("-O2", "-std=c++17", "-shared", "-fPIC")
_SECONDS = 120

ENCODERS: dict[str, Callable[..., bytes]] = {}
"""Model -> function that encodes with it, filled by ``ready``."""


@functools.cache
def ready() -> bool:
    """Puts the compiled kernel to use, building it first if it was never built here; returns whether there is one."""
    if os.environ.get(VARIABLE) == "0":
        return False
    library = _load()
    if library is None:
        return False
    tables = [np.array(t, np.int32) for t in (adaptive.SQUASH, adaptive.STRETCH, adaptive.RATE)]
    library.setup(*map(_at, tables))
    for model in ("positions", "symbols", "numbers"):
        KERNELS[f"decode_{model}"] = _decoder(library, model)
        ENCODERS[model] = _encoder(library, model)
    KERNELS["decode_ans"] = _ans(library)
    ENCODERS["ans"] = _ans_encoder(library)
    return True


def built_file() -> Path:
    """Returns where the built library lies, or will lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    parts = (_SOURCE.read_text(), *_OPTIONS, platform.machine(), platform.system())
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
    return Path(base) / "netdial" / f"ndz-{digest}.so"


def _load() -> ctypes.CDLL | None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    try:
        path = built_file()
        if not path.exists():
            if compiler is None:
                return None
            write_atomic(path, lambda made: _build(compiler, made))
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None  # no compiler that works, no cache folder: Python does it


def _build(compiler: str, path: Path) -> None:
    command = [*compiler.split(), *_OPTIONS, str(_SOURCE), "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)


def _at(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _number(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)


def _arguments(rest: tuple[int, ...]) -> list[Any]:
    return [_number(value) for value in rest]


def _decoder(library: ctypes.CDLL, model: str) -> Callable[..., int]:
    function = library[f"decode_{model}"]
    function.restype = ctypes.c_int64

    def decode(stream: bytes, into: Any, *rest: Any) -> int:
        data = np.frombuffer(stream, np.uint8)
        given = [np.frombuffer(part, np.uint8) for part in rest if isinstance(part, bytes)]
        held = into if isinstance(into, np.ndarray) else np.frombuffer(into, np.uint8)
        plain = [part for part in rest if not isinstance(part, bytes)]
        if model == "numbers":
            plain = [held.size, *plain]
        arrays = [_at(part) for part in (*given, held)]
        return int(function(_at(data), _number(data.size), *arrays, *_arguments(tuple(plain))))

    return decode


def _encoder(library: ctypes.CDLL, model: str) -> Callable[..., bytes]:
    function = library[f"encode_{model}"]
    function.restype = ctypes.c_int64

    def encode(*rest: Any) -> bytes:
        given = [np.array(part) for part in rest if isinstance(part, np.ndarray)]
        plain = [part for part in rest if not isinstance(part, np.ndarray)]
        if model == "numbers":
            plain = [given[0].size, *plain]
        out = np.empty(4 * max(part.size for part in given) + 1024, np.uint8)
        arrays = [_at(part) for part in given]
        size = int(function(_at(out), _number(out.size), *arrays, *_arguments(tuple(plain))))
        if size < 0:
            raise RuntimeError(f"{model}: more bytes than there is room for")
        return out[:size].tobytes()

    return encode


def _ans(library: ctypes.CDLL) -> Callable[..., tuple[Array, Array, int]]:
    function = library.decode_ans
    function.restype = ctypes.c_int64

    def decode(
        words: Array, states: Array, bits: int, symbol: Array, freq: Array, start: Array, count: int
    ) -> tuple[Array, Array, int]:
        words, x = np.ascontiguousarray(words), states.astype(np.uint32)
        tables = symbol.astype(np.uint16), freq.astype(np.uint32), start.astype(np.uint32)
        found = np.empty(count, np.uint16)
        sizes = _number(words.size), _at(x), _number(x.size), _number(bits)
        place = int(
            function(
                _at(words), *sizes, *[_at(table) for table in tables], _number(count), _at(found)
            )
        )
        check(place >= 0, "a stream ends too early")
        return found, x.astype(np.int64), place

    return decode


def _ans_encoder(library: ctypes.CDLL) -> Callable[..., bytes]:
    function = library.encode_ans
    function.restype = ctypes.c_int64

    def encode(symbols: Array, freq: Array, start: Array, lanes: int, bits: int) -> bytes:
        plain = (
            symbols.astype(np.uint16, copy=False),
            freq.astype(np.uint32),
            start.astype(np.uint32),
        )
        states, words = np.full(lanes, 65536, np.uint32), np.empty(symbols.size, np.uint16)
        arrays = [_at(part) for part in (*plain, states, words)]
        first = int(function(*arrays, _number(symbols.size), _number(lanes), _number(bits)))
        return states.astype("<u4").tobytes() + words[first:].astype("<u2").tobytes()

    return encode
