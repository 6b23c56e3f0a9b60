"""``netdial predict``: predictions of a trained model for the rows of a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.options import JsonOption, RunsDirOption
from netdial.cli.places import model_place
from netdial.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="What export, choose, fit or shrink wrote: a file, a folder, or the name of a run.",
            show_default=False,
        ),
    ],
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="Rows to predict for: a CSV, Parquet or Excel file."),
    ],
    lam: Annotated[
        float | None,
        typer.Option(
            help="Member of a family; else the best on validation data.", show_default=False
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Draws of a family's weights; 0 takes the mean weights.")
    ] = 0,
    level: Annotated[
        float, typer.Option(help="Probability of the intervals of a regression.")
    ] = 0.9,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write: .csv, .tsv, .parquet or .xlsx; else it is printed as CSV.",
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Predict for the rows of a table: classes with probabilities, or numbers with intervals."""
    path = model_place(model, runs_dir)
    from netdial.cli.output import print_json
    from netdial.core.storage.files import check_writable
    from netdial.core.storage.places import check_replaceable
    from netdial.models.described import described
    from netdial.models.door import open_model
    from netdial.models.predict import predictions
    from netdial.models.use import Use

    if out is not None:
        _check_ending(out)
        check_replaceable(out, "a table of predictions", Path.is_file, [table, path])
        check_writable(out)
    loaded = open_model(path)
    if isinstance(loaded, dict):
        described(path, {})  # refuses tensors of which nobody knows the network
    use: Use | None = getattr(loaded, "use", None)
    if use is None or use.table is None:
        raise ConfigError(
            f"{path}: does not say how the columns of a table become inputs; it was trained on something else, or written "
            "before that was kept: fit or export it again"
        )
    found, remarks = predictions(
        loaded, use, table, lam=lam, n_samples=samples, level=level, seed=_seed(path)
    )
    for remark in remarks:
        print(f"netdial: {remark}", file=sys.stderr)
    if out is not None:
        _write(out, found)
    if as_json:
        print_json(
            {
                "model": str(path),
                "lam": use.lam if lam is None else lam,
                "rows": len(found),
                "remarks": list(remarks),
                "out": None if out is None else str(out),
                "predictions": _rows(found),
            }
        )
    elif out is None:
        print(found.to_csv(index=False), end="")
    else:
        print(f"{out}: {len(found)} predictions of {', '.join(map(str, found.columns))}")


def _seed(path: Path) -> int:
    """Returns the seed of draws: that of a run, as where it was evaluated, else 0."""
    from netdial.runs.run import Run

    if not (path / "records.jsonl").is_file():  # a member or a family in a folder
        return 0
    return int(Run.open(path).config.get("seed", 0))


_ENDINGS = (".csv", ".tsv", ".parquet", ".xlsx", ".txt", "")
"""Endings of files that predictions are written to; text with commas where nothing else is said."""


def _check_ending(out: Path) -> None:
    """Refuses a file whose ending says something that is not written, and one that needs what is not installed."""
    from netdial.core.errors import missing_extra, unknown

    ending = out.suffix.lower()
    if ending not in _ENDINGS:
        raise unknown(f"ending of --out {out}:", ending, [one for one in _ENDINGS if one])
    if ending == ".xlsx":
        try:
            import openpyxl  # noqa: F401
        except ImportError as error:
            raise missing_extra("writing Excel files (openpyxl)", "excel") from error


def _write(out: Path, found: pd.DataFrame) -> None:
    """Writes predictions as the ending of the file says, unless a table with other columns is there."""
    import pandas

    from netdial.core.storage.files import write_atomic
    from netdial.core.storage.places import check_replaceable

    ending = out.suffix.lower()

    def alike(path: Path) -> bool:
        try:
            if ending in (".parquet", ".xlsx"):
                read = pandas.read_parquet if ending == ".parquet" else pandas.read_excel
                return list(read(path).columns) == list(found.columns)
            with path.open(encoding="utf-8") as file:
                return file.readline().rstrip("\n") in ("", _text(found[:0], ending).rstrip("\n"))
        except Exception:  # whatever a file of another kind makes a reader raise
            return False

    def write(to: Path) -> None:
        if ending == ".parquet":
            found.to_parquet(to, index=False)
        elif ending == ".xlsx":
            with to.open("wb") as file:
                found.to_excel(file, index=False, engine="openpyxl")
        else:
            to.write_text(_text(found, ending), encoding="utf-8", newline="")

    write_atomic(check_replaceable(out, "a table of such predictions", alike), write)


def _text(found: pd.DataFrame, ending: str) -> str:
    text: str = found.to_csv(
        index=False, sep="\t" if ending == ".tsv" else ",", lineterminator="\n"
    )
    return text


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns predictions as one object for each row."""
    return [
        {str(key): value for key, value in row.items()} for row in found.to_dict(orient="records")
    ]
