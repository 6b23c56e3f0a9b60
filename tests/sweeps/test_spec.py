"""A sweep is checked before anything is made: keys, names, ranges, values at their ends, objectives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netdial.core.errors import ConfigError
from netdial.sweeps.proposals import Proposals
from netdial.sweeps.samplers import SAMPLERS
from netdial.sweeps.spec import is_higher, read_spec
from netdial.sweeps.trials.kinds import REFINEMENTS, trial_kind, trial_names
from netdial.task import TASKS

GOOD: dict[str, Any] = {
    "name": "one",
    "data": "wine",
    "way": "shrink",
    "settings": {"epochs": 2},
    "space": {"lam": {"low": 1e-4, "high": 1e-1, "log": True}, "batch_size": [16, 32]},
    "trials": 5,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trails": 5}, "did you mean 'trials'"),
        ({"way": "shrnik"}, "did you mean 'shrink'"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"engine": "rai"}, "unknown engine 'rai'"),
        ({"trials": 0}, r"trials=0.*greater than or equal to 1"),
        ({"max_seconds": 0}, r"max_seconds=0.*greater than 0"),
        ({"trials": None}, "trials"),
        ({"name": "a/b"}, "a/b"),
        ({"settings": {"epohcs": 2}}, "did you mean 'epochs'"),
        ({"settings": {"epochs": 0}}, "epochs"),
        ({"settings": {"devices": 2}}, "devices"),
        ({"space": {"lamm": {"low": 1, "high": 2}}}, "did you mean 'lam'"),
        ({"space": {"lam": {"low": 1e-2, "high": 1e-4}}}, r"lam.*low=0.01, high=0.0001.*empty"),
        ({"space": {"lam": {"low": 1e-2, "high": 1e-2}}}, "empty range"),
        ({"space": {"lam": {"low": 0, "high": 1, "log": True}}}, "logarithmic"),
        ({"space": {"lam": {"low": -1, "high": 1}}}, "lam"),
        ({"space": {"lam": {"low": 1, "hihg": 2}}}, "did you mean 'high'"),
        ({"space": {"lam": []}}, "empty list"),
        ({"space": {"lam": 3.0}}, "one value"),
        ({"space": {"lam": [0.1, 0.1]}}, "twice"),
        ({"space": {"lam": [float("nan")]}}, "nan"),
        ({"space": {"batch_size": {"low": 1.5, "high": 3}}}, r"batch_size.*whole"),
        ({"space": {"epochs": [1, 2]}}, "both in settings and in space"),
        ({"settings": {"model": "mlp:{w}"}}, r"\{w\}.*space"),
        ({"objectives": ["test/nll"]}, "test data"),
        ({"objectives": ["valid/acuracy"]}, "did you mean 'valid/accuracy'"),
        ({"objectives": ["params", "train/nll"]}, "objectives 'train/nll'"),
        ({"sampler": "grid"}, "list"),
        ({"storage": "s3://bucket/sweeps", "halving": {}}, r"halving.*s3://bucket.*folder"),
        ({"cluster": "auto", "engine": "processes"}, r"cluster.*engine ray"),
        ({"space": {"base.lr": [0.1]}}, "base.lr"),
        ({"trials": True}, "trials=True: give a number; true and false"),
        ({"settings": {"epochs": True}}, "epochs=True: give a number; true and false"),
        ({"space": {"epochs": [2, True]}, "settings": {}}, "epochs=True: give a number"),
        ({"space": {"lam": {"low": False, "high": 1}}}, "low=False: give a number"),
        ({"objectives": ["accuracy"]}, "did you mean 'valid/accuracy'"),
        ({"objectives": ["valid/excess"]}, "unknown measure in objectives 'valid/excess'"),
        (
            {"objectives": ["valid/excess"], "way": "fit", "space": {"lr": [1e-3, 1e-2]}},
            "unknown measure in objectives 'valid/excess'",
        ),
        ({"way": "fit", "space": {"lo": [1e-3, 50.0]}}, r"lo=50.*tried with lo=50.0 of space"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    from netdial.sweeps.run import engine_of

    given = {name: value for name, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        engine_of(read_spec(given))


def test_a_file_gives_the_name_and_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "data: wine\nway: shrink\ntrials: 3\nspace:\n  lam: {low: 1e-4, high: 1E-1, log: true}\n  lr: [1e-3, 1.0e-2]\n"
    )
    spec = read_spec(path, trials=4)
    assert (spec.name, spec.trials) == ("mine", 4)
    assert spec.space["lr"] == (1e-3, 1e-2)
    assert read_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: wine\ndata: digits\n", "line 2.*data.*twice"),
        ("data: [wine\n", "is not YAML"),
        ("- wine\n", "holds no keys"),
        ("", "holds no keys"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused_with_the_place(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_spec(tmp_path / "s.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_spec(tmp_path / "none.yaml")


def test_widths_in_a_model_are_whole_numbers_of_their_own() -> None:
    space = {"w1": {"low": 4, "high": 64, "log": True}, "w2": [8, 16]}
    spec = read_spec(GOOD | {"settings": {"model": "mlp:{w1}-{w2}"}, "space": space})
    cell = spec.cell({"w1": 5, "w2": 8})
    assert dict(cell.choices) == {"model": "mlp:5-8"}  # type: ignore[attr-defined]
    asked = Proposals(spec).ask()
    assert isinstance(asked["w1"], int) and 4 <= asked["w1"] <= 64


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_proposes_what_the_space_allows_and_the_same_again(name: str) -> None:
    space = {"batch_size": [16, 32, 64], "epochs": [1, 2]}
    given = GOOD | {"sampler": name, "settings": {}, "space": space, "trials": 6, "ahead": 2}
    spec = read_spec(given)

    def asked() -> list[dict[str, Any]]:
        proposals, found = Proposals(spec), []
        for number in range(spec.count):
            found.append(proposals.ask())
            if number:
                proposals.tell(number - 1, [1.0 / number, float(number)])
        return found

    first = asked()
    assert first == asked()
    assert all(p["batch_size"] in (16, 32, 64) and p["epochs"] in (1, 2) for p in first)
    assert len({tuple(p.values()) for p in first}) == 6, "none twice"


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"grid"}))
def test_a_sampler_that_is_stuck_proposes_the_rest_all_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it draws one value again and again, and where whole numbers are a range."""
    monkeypatch.setattr("netdial.sweeps.proposals._REDRAWS", 0)
    space = {"epochs": {"low": 1, "high": 40}, "batch_size": [16, 32]}
    spec = read_spec(GOOD | {"sampler": name, "settings": {}, "space": space, "trials": 100})
    assert spec.count == spec.different == 80 and "80 different settings" in spec.remark
    proposals = Proposals(spec)
    found = [tuple(sorted(proposals.ask().items())) for _ in range(spec.count)]
    assert len(set(found)) == 80
    assert read_spec(GOOD | {"trials": 7}).different is None


@pytest.mark.parametrize("name", list(REFINEMENTS))
def test_refinements_train_the_family_that_they_need_once(name: str) -> None:
    kind = trial_kind(name)
    cells = [kind.cell("wine", {"base.epochs": 2, "lam": lam}, None) for lam in (0.1, 1.0)]
    assert cells[0] != cells[1]
    assert list(cells[0].needs) == list(cells[1].needs)
    assert {"base.lr", "base.model", "lam"} <= kind.names().keys()
    assert name in trial_names()
    with pytest.raises(ConfigError):
        kind.cell("wine", {"base.epochs": 0}, None)


@pytest.mark.parametrize("task", list(TASKS))
def test_what_is_better_is_what_the_task_says(task: str) -> None:
    for name, metric in TASKS[task].METRICS.items():
        assert is_higher(f"valid/{name}") == is_higher(f"valid/{name}_predictive") == metric.higher
