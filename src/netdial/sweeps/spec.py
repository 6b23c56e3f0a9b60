"""What a sweep is: data, way of training, what is varied, how many trials, and where they are made. Checked when it is read."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from netdial.core.errors import ConfigError, missing_extra, unknown
from netdial.jobs.trial import sources_of
from netdial.runs.folder import check_name
from netdial.runs.store import Cell
from netdial.sweeps.remote import folder_for, is_address
from netdial.sweeps.samplers import SAMPLERS
from netdial.sweeps.space import Range, Values, read_space, values_of
from netdial.sweeps.trials.kinds import BASE, TrialKind, check_settings, trial_kind
from netdial.train.config import Settings, names_of

RUNNING = (
    "trials",
    "engine",
    "cluster",
    "workers",
    "retries",
    "max_seconds",
    "storage",
    "data_dir",
)
"""Fields of a spec that may change when a sweep goes on: they say how much, where and how fast."""


class EarlyStop(Settings):
    """Stops trials early that do worse than most others after as many epochs (asynchronous successive halving, ASHA)."""

    first: int = Field(1, ge=1, description="epochs after which trials are compared first")
    factor: int = Field(3, ge=2, description="one of so many goes on, to so many times the epochs")


class SweepSpec(Settings):
    """What a sweep is.

    Raises:
        ConfigError: an unknown key or setting (the nearest is named), an empty range, a way that there is not, a budget of 0.
    """

    name: str = Field(description="name of the sweep; that of its folder")
    data: str = Field(description="data set, table, or package.module:function")
    way: str = Field(
        "fit",
        description="what a trial is: a way of training, or slim or compress",
        json_schema_extra=names_of("netdial.sweeps.trials.kinds:trial_names"),
    )
    settings: dict[str, Any] = Field({}, description="settings that all trials share")
    space: dict[str, Range | Values] = Field({}, description="settings that are varied")
    trials: int | None = Field(None, ge=1, description="how many; a grid has as many as it has")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="seed of the sampler")
    sampler: str = Field(
        "tpe",
        description="what proposes trials",
        json_schema_extra=names_of("netdial.sweeps.samplers:SAMPLERS"),
    )
    objectives: tuple[str, ...] = Field(
        (), description="measures that are optimised, on validation data; else loss and size"
    )
    ahead: int = Field(
        8,
        ge=1,
        description="trials that may be under way at once; a sampler that learns sees results up to so many trials back",
    )
    halving: EarlyStop | None = Field(None, description="stop trials early")
    engine: str = Field(
        "",
        description="where trials are made; else processes, or here for one worker",
        json_schema_extra=names_of("netdial.sweeps.engines:ENGINES"),
    )
    cluster: str = Field(
        "", description="with engine ray: address of a cluster, or auto; else this machine alone"
    )
    workers: int = Field(0, ge=0, description="trials at a time; 0 for one on every core")
    retries: int = Field(
        2, ge=0, description="times a trial is tried again whose process or disk failed"
    )
    max_seconds: float | None = Field(
        None, gt=0, description="no trial is begun after so many seconds"
    )
    storage: str = Field(
        "runs/sweeps",
        description="folder of sweeps, or an address that fsspec opens, s3://BUCKET/…",
    )
    data_dir: str | None = Field(None, description="folder of data files; else NETDIAL_DATA")

    @field_validator("name", mode="after")
    @classmethod
    def _is_a_folder(cls, name: str) -> str:
        check_name(name)
        return name

    @field_validator("space", mode="before")
    @classmethod
    def _of_ranges(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            raise ConfigError(f"space={given!r}: expected ranges and lists by name")
        return read_space(given)

    def model_post_init(self, _: Any) -> None:
        """Checks what is said about one another: names, values at the ends of ranges, objectives and count."""
        kind = trial_kind(self.way)
        sampler = SAMPLERS[self.sampler]
        check_settings(kind, self.settings, "settings")
        check_settings(kind, {n: 1 for n in self.space if n not in self.placeholders}, "space")
        for name in self.placeholders - set(self.space):
            raise ConfigError(f"{{{name}}} in settings: is not in space; add a range or a list")
        if both := sorted(set(self.settings) & set(self.space)):
            raise ConfigError(f"{both[0]}: stands both in settings and in space; leave one out")
        for name in self.optimised:
            if name.startswith("test/"):
                raise ConfigError(
                    f"objectives: {name} would choose by test data, which are to be looked at once; use valid/{name[5:]}"
                )
            _check_measure(name, self.way)
        if self.halving is not None and is_address(self.storage):
            raise ConfigError(
                f"halving with storage {self.storage}: trials compare themselves by files of a folder that all machines see; "
                "give such a folder, or leave halving out"
            )
        if self.trials is None and self.sampler != "grid":
            raise ConfigError("trials: is missing; say how many trials the sweep has")
        sampler.make(self.space, self.seed) if self.sampler == "grid" else None
        first, *others = self._ends()
        self.cell(first, {})
        for params in others:
            try:
                self.cell(params, {})
            except ConfigError as error:
                apart = [f"{n}={value}" for n, value in params.items() if value != first[n]]
                raise ConfigError(f"{error} (tried with {', '.join(apart)} of space)") from None

    @property
    def kind(self) -> TrialKind:
        """What a trial is."""
        return trial_kind(self.way)

    @property
    def count(self) -> int:
        """How many trials there are."""
        different = self.different
        if different is None:
            return self.trials or 0
        return different if self.trials is None else min(different, self.trials)

    @property
    def different(self) -> int | None:
        """How many trials differ from each other; None if there is no end of them."""
        values = values_of(self.space, self.whole)
        return None if values is None else math.prod(map(len, values.values()))

    @property
    def remark(self) -> str:
        """What to know of the count of trials; empty if it is the one that was asked for."""
        if self.trials is None or self.count == self.trials:
            return ""
        different = "1 setting" if self.count == 1 else f"{self.count} different settings"
        trials = "1 trial is" if self.count == 1 else f"{self.count} trials are"
        return (
            f"space has {different}, so {trials} made and not {self.trials}, each once; vary more for more, such as seed: "
            "[0, 1, 2]"
        )

    @property
    def optimised(self) -> tuple[str, ...]:
        """Measures that are optimised."""
        return self.objectives or self.kind.objectives

    @property
    def placeholders(self) -> set[str]:
        """Names in braces in settings, such as ``model: mlp:{w1}-{w2}``; each is varied, too."""
        texts = [value for value in self.settings.values() if isinstance(value, str)]
        return {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}

    @property
    def whole(self) -> dict[str, bool]:
        """Whether each name of the space takes whole numbers."""
        inside = self.placeholders
        return {n: n in inside or self.kind.is_whole(n) for n in self.space}

    @property
    def path(self) -> Path:
        """Folder of the sweep on this machine."""
        place = folder_for(self.storage) if is_address(self.storage) else Path(self.storage)
        return place / self.name

    @property
    def address(self) -> str:
        """Address of the folder of the sweep; empty where it is a folder of this machine alone."""
        return f"{self.storage.rstrip('/')}/{self.name}" if is_address(self.storage) else ""

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two sweeps the same one, as plain values."""
        plain = self.model_dump(mode="json")
        return {name: value for name, value in plain.items() if name not in RUNNING}

    def sources(self) -> list[str]:
        """Returns the names of all tables that trials read, or of the function that gives the data."""
        found = dict.fromkeys(sources_of(self.data, {}))
        for where in (self.settings, self.space):
            for name, value in where.items():
                part = name.removeprefix(BASE)
                for one in value if isinstance(value, tuple | list) else (value,):
                    if "{" not in str(one):  # else known with the trial alone
                        found |= dict.fromkeys(sources_of(self.data, {part: one}))
        return list(found)

    def cell(self, params: Mapping[str, Any], digests: Mapping[str, str] | None = None) -> Cell:
        """Returns the piece of work of a trial with these values.

        Args:
            params: what is varied.
            digests: name of a table -> SHA-256 of its bytes; None has the tables read now.

        Raises:
            ConfigError: they cannot be.
        """
        inside = self.placeholders
        filled = {
            name: value.format(**params) if isinstance(value, str) and inside else value
            for name, value in self.settings.items()
        }
        own = {name: value for name, value in params.items() if name not in inside}
        return self.kind.cell(self.data, {**filled, **own}, digests)

    def _ends(self) -> list[dict[str, Any]]:
        """Returns settings that between them have both ends of every range, and every value of a list."""
        whole = self.whole
        lists: dict[str, list[Any]] = {
            name: [one.low, one.high] if isinstance(one, Range) else list(one)
            for name, one in self.space.items()
        }
        for name, one in self.space.items():
            if isinstance(one, Range) and whole[name]:
                try:
                    lists[name] = list(one.whole())
                except ConfigError as error:
                    raise ConfigError(f"space, {name}: {error}") from None
        first = {name: values[0] for name, values in lists.items()}
        return [first] + [
            {**first, name: value} for name, values in lists.items() for value in values[1:]
        ]


def _check_measure(name: str, way: str) -> None:
    """Refuses a measure that no task or way has; costs go by names of their own."""
    from netdial.task import metric_names

    part, among, metric = name.rpartition("/")
    above = ("excess",) if trial_kind(way).refines else ()  # that of the network given
    metrics = ("loss", *metric_names(), *above)
    known = [f"valid/{each}" for each in metrics]
    base = metric.removesuffix("_error").removesuffix("_predictive")
    if (among and f"{part}/{base}" not in known) or (not among and base in metrics):
        raise unknown("measure in objectives", name, known)


def is_higher(measure: str) -> bool:
    """Returns whether more of a measure is better.

    >>> is_higher("valid/accuracy"), is_higher("params")
    (True, False)
    """
    from netdial.task import is_higher_better

    return is_higher_better(measure.partition("/")[2].removesuffix("_predictive"))


def read_spec(given: SweepSpec | Mapping[str, Any] | str | Path, **changes: Any) -> SweepSpec:
    """Returns a spec: from a YAML or JSON file, or from a mapping; the name is by default that of the file.

    Args:
        given: the file, or what would stand in it.
        changes: keys to set besides; None changes nothing.

    Raises:
        ConfigError: it cannot be read, or something in it is not allowed.
        MissingExtra: a YAML file, and PyYAML is not installed.
    """
    asked = {name: value for name, value in changes.items() if value is not None}
    if isinstance(given, SweepSpec):
        return given.changed(**asked)
    start: dict[str, Any] = {}
    if isinstance(given, str | Path):
        start, given = {"name": Path(given).stem}, _read_file(Path(given))
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"sweep: {type(given).__name__} is no spec; give a YAML or JSON file, or a mapping of its keys"
        )
    for name in given:
        if name not in SweepSpec.model_fields:
            raise unknown("key in the sweep", name, SweepSpec.model_fields)
    return SweepSpec(**{**start, **given, **asked})


def _read_file(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"{path}: cannot be read ({reason}); give a YAML file") from None
    found = _parse(path, text)
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"{path}: holds no keys; a sweep has name, data, way, space and trials, one a line"
        )
    return {str(name): value for name, value in found.items()}


def _parse(path: Path, text: str) -> Any:
    """Returns what YAML says; numbers such as 1e-4 are numbers, and a key that stands there twice is refused."""
    try:
        import yaml
    except ImportError:
        raise missing_extra(f"{path}: a sweep in YAML", "sweep") from None

    class Loader(yaml.SafeLoader):
        """YAML 1.1 with numbers as everywhere else."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                line = node.value[place][0].start_mark.line + 1
                raise ConfigError(f"{path}, line {line}: {key} stands there twice; leave one out")
        return dict(loader.construct_mapping(node, deep=True))

    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{place}: is not YAML ({what})") from None
