"""Reads pickled dictionaries of numbers, bytes and numpy arrays without running any code of the file.

The unpickler knows the few names that a pickled array of any protocol needs, and gives each to an inert stand-in that only
keeps what it is told; every other name is refused. What comes out is checked before an array is made of it.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from netdial.core.errors import DataError

_TYPE_CODES = frozenset(("u1", "b1", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "f4", "f8"))


class Dtype:
    """Stands in for ``numpy.dtype``: keeps the type code and the byte order."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code
        self.order = "="

    def __setstate__(self, state: object) -> None:
        """Keeps the byte order, the second entry of numpy's state."""
        if isinstance(state, tuple) and len(state) > 1:
            order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
            self.order = order if order in ("<", ">", "=") else "="

    def real(self) -> np.dtype[Any]:
        """Returns the numpy type, if it is one of plain numbers."""
        if self.code not in _TYPE_CODES:
            raise pickle.UnpicklingError(f"arrays of type {self.code!r} are not read")
        return np.dtype(str(self.code)).newbyteorder(self.order)  # type: ignore[arg-type]


class Array:
    """Stands in for ``numpy.ndarray``: keeps the shape, the type and the bytes.

    Attributes:
        state: shape, type, whether it is stored column by column, bytes.
    """

    state: tuple[Any, ...] = ()

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_column, payload = state
        self.state = (shape, dtype, by_column, payload)

    def real(self) -> np.ndarray[Any, Any]:
        """Returns the numpy array, if its shape and its bytes agree."""
        shape, dtype, by_column, payload = self.state
        if not isinstance(dtype, Dtype) or not isinstance(payload, bytes | bytearray | str):
            raise pickle.UnpicklingError("an array holds something other than numbers")
        content = payload.encode("latin-1") if isinstance(payload, str) else bytes(payload)
        flat = np.frombuffer(content, dtype=dtype.real())
        return flat.reshape(tuple(int(size) for size in shape), order="F" if by_column else "C")


def _reconstruct(kind: object, *_: object) -> Array:
    """Stands in for numpy's ``_reconstruct``: an empty stand-in array."""
    if kind is not Array:
        raise pickle.UnpicklingError("only plain arrays are read")
    return Array()


def _from_buffer(buffer: object, dtype: object, shape: object, order: object) -> Array:
    """Stands in for numpy's ``_frombuffer``, by which protocol 5 stores arrays."""
    array = Array()
    array.state = (shape, dtype, order == "F", buffer)
    return array


def _scalar(dtype: object, content: object = b"") -> Any:
    """Stands in for numpy's ``scalar``: returns a Python number."""
    array = Array()
    array.state = ((1,), dtype, False, content)
    return array.real()[0].item()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Stands in for ``codecs.encode``, by which protocol 2 stores bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("only bytes are read")
    return text.encode("latin-1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler for dictionaries of numbers, bytes and numpy arrays; it imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns a stand-in for the names that a pickled array needs; refuses all others."""
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return _KNOWN[module, name]


def read_pickle(path: Path, entries: tuple[str, ...], what: str) -> list[Any]:
    """Returns entries of a pickled dictionary, arrays as numpy arrays.

    Args:
        path: the file; it may come from Python 2 or 3, in any protocol.
        entries: names of the entries, in the order wanted.
        what: what the file should be, for messages.

    Raises:
        DataError: the file is damaged, asks for code, or does not hold the entries.
    """
    try:
        with path.open("rb") as stream:
            found = _ArraysOnly(stream, encoding="bytes").load()
        named = {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in found.items()}
        values = [named[entry] for entry in entries]
        return [value.real() if isinstance(value, Array) else value for value in values]
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: refused to read this pickle: {error}; use the original files"
        ) from None
    except Exception as error:  # a hostile or damaged pickle can fail in any way
        raise DataError(
            f"{path} is damaged or no {what} ({type(error).__name__}: {error})"
        ) from error
