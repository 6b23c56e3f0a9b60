"""What every format of export must keep to: what is written computes what the member computes, or nothing is written."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError, NetdialError
from netdial.family import Family, FamilyConfig
from netdial.models.member import FORMATS, Exported, save_member
from netdial.nets import build

META = {"net": {"spec": "mlp:4", "input_shape": [3], "n_outputs": 2}}
names = pytest.mark.parametrize("name", list(FORMATS))
EXAMPLE = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=list(FORMATS))
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Exported]:
    """Name of a format, where a member was written in it, and what writing returned."""
    family = family_of(build("mlp:4", input_shape=(3,), n_outputs=2))
    path = tmp_path_factory.mktemp("export") / "member"
    done = save_member(family, 1.0, path, format=request.param, example=EXAMPLE, meta=META)
    return request.param, path, done


def family_of(net: nn.Module) -> Family:
    family = Family(net, FamilyConfig())
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=source))
    return family.eval()


def files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.iterdir())


@pytest.mark.slow
def test_what_is_written_is_described(written: tuple[str, Path, Exported]) -> None:
    name, path, done = written
    assert done.format == name and done.path == path
    assert done.size_bytes == sum(file.stat().st_size for file in files(path))
    assert 0 <= done.max_difference <= 1e-5


@names
def test_a_format_says_what_it_writes(name: str) -> None:
    assert FORMATS[name].__module__.startswith("netdial.")
    text = inspect.getdoc(inspect.getmodule(save_member)) or ""
    assert f"``{name}``" in text


@names
def test_a_member_outside_the_trained_range_is_refused_and_nothing_written(
    name: str, tmp_path: Path
) -> None:
    family = family_of(build("mlp:4", input_shape=(3,), n_outputs=2))
    with pytest.raises(ConfigError, match="1e"):
        save_member(family, 1e12, tmp_path / "member", format=name, example=EXAMPLE, meta=META)
    assert not list(tmp_path.iterdir())


@names
def test_a_member_that_is_not_finite_is_refused_and_nothing_written(
    name: str, tmp_path: Path
) -> None:
    family = family_of(build("mlp:4", input_shape=(3,), n_outputs=2))
    with torch.no_grad():
        next(iter(family.parameters())).view(-1)[0] = torch.nan
    with pytest.raises(NetdialError):
        save_member(family, 1.0, tmp_path / "member", format=name, example=EXAMPLE, meta=META)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        save_member(family_of(nn.Linear(3, 2)), 1.0, tmp_path / "m", format="pickle")
    assert all(name in str(refused.value) for name in FORMATS)
