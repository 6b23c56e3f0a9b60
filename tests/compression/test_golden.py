"""Files of every version of the format are read for ever, to the bit, with and without the kernel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from netdial import compression
from netdial.compression import Codebook
from netdial.compression.coding import decoder, encoder, native, static

PLACE = Path(__file__).parent / "golden"
FILES = sorted(PLACE.glob("*.ndz"))


def wanted() -> dict[str, Codebook | np.ndarray]:
    spec = importlib.util.spec_from_file_location("make_golden", PLACE.parent / "make_golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Codebook | np.ndarray] = module.tensors()
    return found


def test_there_is_one_of_every_profile() -> None:
    assert {path.stem for path in FILES} >= {f"1.0-{profile}" for profile in encoder.PROFILES}
    heads = {next(decoder.chunks(path.read_bytes()))[0] for path in FILES}
    assert heads == set(decoder.HEADS)
    parts = {kind for path in FILES for kind, *_ in decoder.chunks(path.read_bytes())}
    assert parts == {*heads, decoder.TENSOR, decoder.TENSORS, decoder.END}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("compiled", [True, False])
def test_old_files_are_read(path: Path, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(native, "ready", lambda: False)
        for module in (decoder, static):
            monkeypatch.setattr(module, "KERNELS", {})
    found = compression.read(path)
    assert (found.recipe, found.meta) == ({"net": "λ"}, {"version": 1})
    assert list(found.tensors) == list(wanted())
    for name, tensor in wanted().items():
        dense = tensor.dense() if isinstance(tensor, Codebook) else tensor
        np.testing.assert_array_equal(found.dense()[name], dense)
        assert found.dense()[name].dtype == dense.dtype


@pytest.mark.parametrize("profile", sorted(encoder.PROFILES))
def test_sections_are_the_same_bytes_everywhere(profile: str) -> None:
    content = (PLACE / f"1.0-{profile}.ndz").read_bytes()
    bodies = [body for kind, body, _ in decoder.chunks(content) if kind == decoder.TENSOR]
    made = [b"".join(encoder.encoded(t, profile).sections) for t in wanted().values()]
    assert made == bodies
