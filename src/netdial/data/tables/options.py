"""Settings of how a table is read; the flags of the command line and the keywords of ``nd.load_data`` are their names.

A problem of a table names the options that mend it, so it is here, too. Nothing here imports torch or pandas, so help texts
are quick.
"""

from __future__ import annotations

import codecs
import csv
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from netdial.core.errors import ConfigError, DataError, settings_in_words

TEXT_SUFFIXES = (".csv", ".tsv", ".tab")
SUFFIXES = (*TEXT_SUFFIXES, *(f"{suffix}.gz" for suffix in TEXT_SUFFIXES), ".parquet", ".xlsx")
_NAMED_SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}


class TableOptions(BaseModel):
    """How a table is read. What is left out is found out from the file, and said.

    >>> TableOptions(sep="tab", na="?,-999").na
    ('?', '-999')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **options: Any) -> None:
        with settings_in_words("option of a table", options, type(self).model_fields):
            super().__init__(**options)

    sep: str | None = Field(
        default=None,
        description="character between columns, or the word tab; else found in the file",
    )
    decimal: Literal[".", ","] | None = Field(
        default=None, description="decimal mark of numbers; else found in the file"
    )
    thousands: Literal[",", ".", " ", "'"] | None = Field(
        default=None,
        description="mark between thousands in numbers such as 1,234; else found in the file",
    )
    encoding: str | None = Field(
        default=None, description="text encoding, such as utf-8 or cp1252; else found in the file"
    )
    sheet: str | None = Field(default=None, description="sheet of an Excel file; else the first")
    na: tuple[str, ...] = Field(
        default=(),
        description="texts that mean a missing value in every column, besides an empty cell",
    )
    categorical: tuple[str, ...] = Field(
        default=(), description="columns of codes to read as texts though they look like numbers"
    )
    drop: tuple[str, ...] = Field(default=(), description="columns to leave out")
    keep: tuple[str, ...] = Field(
        default=(), description="columns to use although they look like row numbers or copies"
    )
    drop_missing_target: bool = Field(
        default=False,
        description="leave out rows whose target is missing, in place of refusing the file",
    )
    parse_dates: Literal["number", "parts", "off"] = Field(
        default="number",
        description="dates become days since 1970 (number), year, month, day, weekday and hour (parts), or stay texts (off)",
    )
    date_order: Literal["day-first", "month-first"] | None = Field(
        default=None, description="order in dates such as 03/04/2020; else found in the column"
    )
    split_column: str | None = Field(
        default=None, description="column that says train, valid or test for each row"
    )
    group_column: str | None = Field(
        default=None, description="column of groups, such as patients; no group is in two parts"
    )
    time_column: str | None = Field(
        default=None, description="column of times; training rows come before validation, then test"
    )
    weight_column: str | None = Field(
        default=None,
        description="column that says how much each row counts in training compared with the others",
    )

    @field_validator("na", "categorical", "drop", "keep", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        found = listed(value) if isinstance(value, str) else value
        return tuple(found) if isinstance(found, list) else found

    @field_validator("sep")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        found = _NAMED_SEPARATORS.get(value, value) if value is not None else None
        if found is not None and (len(found) != 1 or found in "\r\n\"'"):
            raise ConfigError(f"sep={value!r}: expected one character such as ';', or the word tab")
        return found

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            known = value is None or codecs.lookup(value)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ConfigError(
                f"encoding={value!r}: no such text encoding; common ones are utf-8, utf-16, latin-1"
                " and cp1252"
            )
        return value

    @model_validator(mode="after")
    def _agree(self) -> TableOptions:
        if self.decimal is not None and self.decimal == self.thousands:
            raise ConfigError(
                f"decimal and thousands are both {self.decimal!r}; they must be different marks"
            )
        given = [
            name
            for name in ("split_column", "group_column", "time_column")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} exclude each other; give one of them")
        both = sorted(set(self.drop) & set(self.keep))
        if both:
            raise ConfigError(f"column {both[0]!r} is both in drop and in keep; give it once")
        return self


_ONLY_FOR = {
    "sep": TEXT_SUFFIXES,
    "encoding": TEXT_SUFFIXES,
    "sheet": (".xlsx",),
}


def foreign_options(options: TableOptions, name: str) -> list[str]:
    """Returns the options given that say nothing about a file of this name.

    >>> foreign_options(TableOptions(sep=";", na="?"), "t.parquet")
    ['sep']
    """
    plain = name.lower().removesuffix(".gz")
    return [
        option
        for option, endings in _ONLY_FOR.items()
        if getattr(options, option) is not None and not plain.endswith(endings)
    ]


def table_options(given: dict[str, Any]) -> TableOptions:
    """Returns the options with the values given.

    Raises:
        ConfigError: an unknown option (the nearest name is offered), or a value that is not allowed.
    """
    return TableOptions(**given)


def is_table(name: str) -> bool:
    """Returns whether a name is that of a table file, by its ending.

    >>> is_table("houses.CSV.gz"), is_table("wine")
    (True, False)
    """
    return name.lower().endswith(SUFFIXES)


def table_name(path: str | Path) -> str:
    """Returns the name of a table file without folder and ending.

    >>> table_name("data/houses.v2.csv.gz")
    'houses.v2'
    """
    name = Path(path).name
    ending = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len, default="")
    return name[: len(name) - len(ending)] or name


def flag(option: str) -> str:
    """Returns an option as the command line spells it."""
    return f"--{option.replace('_', '-')}"


@dataclass(frozen=True)
class TableFault:
    """Something that keeps a table from being used.

    Attributes:
        text: what is wrong, and where.
        mend: options that mend it: a value, several values to be joined, or True for a switch.
    """

    text: str
    mend: Mapping[str, str | tuple[str, ...] | bool] = field(default_factory=dict)


def listed(text: str) -> list[str]:
    """Returns the texts that stand between commas; one that holds a comma itself stands in double quotes.

    >>> listed('a, b c,"d, e"'), listed("")
    (['a', 'b c', 'd, e'], [''])
    """
    try:
        pieces = next(csv.reader([text], skipinitialspace=True))
    except csv.Error:
        pieces = text.split(",")
    return [piece.strip() for piece in pieces or [text]]


def as_list(texts: Iterable[str]) -> str:
    """Returns texts as ``listed`` reads them.

    >>> as_list(["a", "b c", "d, e"]), listed(as_list(['"f"', 'g, "h"']))
    ('a,b c,"d, e"', ['"f"', 'g, "h"'])
    """
    return ",".join(
        '"' + text.replace('"', '""') + '"' if "," in text or text.startswith('"') else text
        for text in texts
    )


def refuse(where: str, problems: Sequence[TableFault]) -> None:
    """Raises one DataError for all problems; returns if there are none."""
    if not problems:
        return
    texts = [problem.text for problem in problems]
    if len(texts) == 1:
        said = texts[0]
    else:
        said = f"{len(texts)} problems: " + "; ".join(
            f"({number}) {text}" for number, text in enumerate(texts, 1)
        )
    mend = command(problems) if all(problem.mend for problem in problems) else ""
    also = f", in Python {keywords(problems)}" if mend else ""
    raise DataError(f"{where}: {said}" + (f"; go on with {mend}{also}" if mend else ""))


def keywords(problems: Sequence[TableFault]) -> str:
    """Returns the options that mend all problems, as ``nd.load_data`` takes them.

    >>> keywords([TableFault("", {"drop": ("a",)}), TableFault("", {"drop": ("b c",), "drop_missing_target": True})])
    "drop=('a', 'b c'), drop_missing_target=True"
    """
    found = _options(problems)
    one = {
        n: v[0]
        for problem in problems
        for n, given in problem.mend.items()
        if isinstance(given, str)
        for v in [found[n]]
    }
    words = {n: one.get(n, tuple(values) if values else True) for n, values in found.items()}
    return ", ".join(f"{name}={value!r}" for name, value in words.items())


def command(problems: Sequence[TableFault]) -> str:
    """Returns the options that mend all problems, as the command line takes them.

    >>> command([TableFault("", {"drop": ("a",)}), TableFault("", {"drop": ("b c",), "drop_missing_target": True})])
    "--drop 'a,b c' --drop-missing-target"
    """
    words = [
        [flag(option), *([as_list(values)] if values else [])]
        for option, values in _options(problems).items()
    ]
    return " ".join(shlex.join(word) for word in words)


def _options(problems: Sequence[TableFault]) -> dict[str, list[str]]:
    """Returns the options that mend all problems: name -> values, none for what is on or off."""
    found: dict[str, list[str]] = {}
    for problem in problems:
        for option, value in problem.mend.items():
            values = (
                [] if value is True else [value] if isinstance(value, str) else list(value or ())
            )
            found.setdefault(option, []).extend(v for v in values if v not in found.get(option, []))
    return found
