"""Options made from settings: a field is a flag, its description the help; bounds and names are checked before work starts."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

import netdial as nd
from netdial.choice import Budget
from netdial.cli.command import Command, options_of
from netdial.cli.options import fields, read
from netdial.core.errors import ConfigError
from netdial.jobs.analyses.chosen import ChoiceOptions
from netdial.jobs.analyses.pruned import SurfaceOptions
from netdial.jobs.analyses.slimming import Slimming
from netdial.jobs.analyses.tuned import RoundOptions, TuningOptions
from netdial.jobs.analyses.weighed import EvidenceOptions
from netdial.pruning.channels import Limits, Options
from netdial.pruning.weights import CRITERIA, Policy

from .conftest import SMALL, Call

SETTINGS = {
    "prune": (SurfaceOptions, Policy),
    "slim": (Slimming, Options, Limits),
    "choose": (ChoiceOptions, Budget),
    "finetune": (TuningOptions, RoundOptions, Policy),
    "evidence": (EvidenceOptions,),
}
KNOWN = ["round", "square"]
"""Names of a registry; see ``Toy.shape``."""


@dataclass(frozen=True)
class Toy:
    """Settings with one field of each sort."""

    shape: Annotated[
        str, Field(description="a shape", json_schema_extra={"names": f"{__name__}:KNOWN"})
    ] = "round"
    sides: Annotated[tuple[float, ...], Field(description="lengths")] = (0.5, 1.0)
    count: Annotated[int, Field(ge=1, description="how many")] = 3
    size: Annotated[float | None, Field(gt=0, lt=1, description="a size")] = None
    kind: Annotated[Literal["big", "small"], Field(description="a kind")] = "big"
    filled: Annotated[bool, Field(description="whether it is filled")] = True
    hidden: int = 7


NOTHING: dict[str, Any] = dict.fromkeys(("shape", "sides", "count", "size", "kind", "filled"))


def toy_command(found: list[Toy]) -> Any:
    @options_of(lambda: {"Toys": (Toy,)})
    def play(place: str, **given: Any) -> None:
        """Play with a toy."""
        found.append(read(Toy, given))

    assert isinstance(play, Command)
    return play.made("play")


def test_a_command_gives_what_was_typed_and_defaults_for_the_rest() -> None:
    found: list[Toy] = []
    command = toy_command(found)
    for args in (
        ["here"],
        ["here", "--sides", "1,2.5", "--no-filled", "--size", ".5", "--kind", "small"],
        ["here", "--shape", "square", "--count", "1", "--filled"],
    ):
        command.main(args, standalone_mode=False)
    assert found == [
        Toy(),
        Toy(sides=(1.0, 2.5), filled=False, size=0.5, kind="small"),
        Toy(shape="square", count=1),
    ]


def test_help_is_made_from_descriptions_and_from_the_names_of_now(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = toy_command([])
    KNOWN.append("oval")
    try:
        command.main(["--help"], standalone_mode=False)
    finally:
        KNOWN.remove("oval")
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "Play with a toy.",
        "Toys:",
        "a shape: round, square, oval [default: round]",
        "lengths [default: 0.5,1]",
        "--kind big|small",
        "--filled / --no-filled",
    ):
        assert words in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"shape": "squre"}, "unknown shape 'squre'; did you mean 'square'?"),
        ({"kind": "bg"}, "unknown kind 'bg'; did you mean 'big'?"),
        ({"count": 0}, "--count 0: input should be greater than or equal to 1"),
        ({"size": 1.0}, "--size 1.0: input should be less than 1"),
        ({"sides": "1,x"}, "--sides '1,x': expected numbers"),
    ],
)
def test_what_is_not_allowed_is_named_with_its_flag(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(Toy, {**NOTHING, **given})
    assert words in str(raised.value)


@pytest.mark.parametrize("command", SETTINGS)
def test_every_field_is_an_option_under_its_name(call: Call, command: str) -> None:
    shown = call(command, "--help").out
    names = [name for settings in SETTINGS[command] for name in fields(settings)]
    assert len(names) == len(set(names)), "two settings of a command share a name"
    for name in names:
        assert f"--{name.replace('_', '-')} " in shown


@pytest.mark.parametrize(
    ("function", "settings"), [(nd.slim, Options), (nd.slim, Limits), (nd.choose, Budget)]
)
def test_options_have_the_words_of_the_python_function(function: Any, settings: type) -> None:
    assert set(fields(settings)) <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    "args",
    [
        ("prune", "--shares", "1"),
        ("prune", "--criterion", "densty"),
        ("slim", "--share", "1.5"),
        ("slim", "--share", ".5", "--size", "9 params"),
        ("slim", "--size", "20"),
        ("choose", "--by", "sparcest"),
        ("choose", "--metric", "acuracy"),
        ("choose", "--min-accuracy", "98"),
        ("choose", "--max-params", "0"),
        ("finetune", "--lam", "1", "--objective", "l3"),
        ("finetune", "--lam", "1", "--share", "1"),
        ("evidence", "--by", "elbow"),
    ],
)
def test_bad_options_are_refused_before_the_run_is_looked_for(
    call: Call, args: tuple[str, ...]
) -> None:
    command, *options = args
    said = call(command, "no-such-run", *options)
    assert said.code == 2
    assert "no-such-run" not in said.line
    assert options[-1] in said.line


def test_a_registered_criterion_is_in_help_and_allowed(call: Call) -> None:
    CRITERIA.add("mine")(CRITERIA["magnitude"])
    try:
        assert "mine" in call("slim", "--help").out
        assert "no-such-run" in call("slim", "no-such-run", "--criterion", "mine").line
    finally:
        CRITERIA._parts.pop("mine")


def test_the_noise_that_training_assumes_goes_with_the_run(call: Call, tmp_path: Path) -> None:
    said = call("fit", "wine", *SMALL, "--noise-var", "0.1", "--name", "w")
    assert said.code == 2 and "noise_var=0.1" in said.line and "classification" in said.line
    assert "training" not in said.err and not (tmp_path / "runs" / "w").exists()
    small = ("--epochs", "2", "--points", "2", "--samples", "2", "--model", "mlp:4")
    assert call("fit", "diabetes", *small, "--noise-var", "0.3", "--name", "d", "-q").code == 0
    run = tmp_path / "runs" / "d"
    assert json.loads((run / "config.json").read_text())["noise_var"] == 0.3
    task = nd.load_model(run).task
    assert task.train_var == (0.3,) and task.curve is not None and not task.noise_var
    said = call("fit", "diabetes", "--noise-var", "0.4", "--name", "d", "--resume")
    assert said.code == 2 and "noise_var" in said.line and "0.3" in said.line
    assert call("export", "d", "--lam", "1", "--out", "m").code == 0
    assert nd.load_model(tmp_path / "m").use.what().train_var == (0.3,)
