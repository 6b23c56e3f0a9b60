"""The reader of one file (docs/read_ndz.py), written apart from the library's decoder, reads what the library writes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netdial import compression
from netdial.compression.coding import encoder

from .test_file import book, model

PLACE = Path(__file__).parents[2] / "docs" / "read_ndz.py"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.ndz"))


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_ndz", PLACE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short_and_stands_alone() -> None:
    lines = PLACE.read_text(encoding="utf-8").splitlines()
    assert sum(1 for line in lines if line.strip()) < 300
    imports = {
        line.split()[1].partition(".")[0] for line in lines if line.startswith(("import", "from"))
    }
    assert imports <= {
        "__future__",
        "json",
        "struct",
        "sys",
        "zlib",
        "hashlib",
        "math",
        "pathlib",
        "numpy",
    }


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_old_files(reader: ModuleType, path: Path) -> None:
    tensors, text = reader.read(path)
    found = compression.read(path)
    assert text == {"recipe": found.recipe, "meta": found.meta}
    assert list(tensors) == list(found.tensors)
    for name, dense in found.dense().items():
        np.testing.assert_array_equal(tensors[name], dense)
        assert tensors[name].dtype == dense.dtype


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple),
    k=st.integers(1, 40),
    zeros=st.sampled_from([0.0, 0.3, 0.9]),
    profile=st.sampled_from(sorted(encoder.PROFILES)),
    seed=st.integers(0, 99),
)
def test_whatever_is_written(
    reader: ModuleType, tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], k: int,
    zeros: float, profile: str, seed: int,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("plain") / "a.ndz"
    meta = {"rows": [{"a": i, "b": "x"} for i in range(5)]}
    compression.write(
        path, {**model(), "w": book(shape, k, zeros, seed)}, meta=meta, profile=profile
    )
    tensors, text = reader.read(path)
    assert text == json.loads(json.dumps({"meta": meta}))
    for name, dense in compression.read(path).dense().items():
        np.testing.assert_array_equal(tensors[name], dense)


def test_damage_is_noticed(reader: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.ndz"
    compression.write(path, model())
    content = path.read_bytes()
    for at in range(0, len(content), 37):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises((ValueError, IndexError)):
            reader.read(path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        reader.read(path, most=10)
