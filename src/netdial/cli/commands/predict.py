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
            "--out", "-o", help="CSV file to write; else it is printed.", show_default=False
        ),
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Predict for the rows of a table: classes with probabilities, or numbers with intervals."""
    path = model_place(model, runs_dir)
    from netdial.cli.output import print_json
    from netdial.core.storage.files import check_writable, write_text
    from netdial.core.storage.places import check_replaceable, starts_as
    from netdial.models.described import described
    from netdial.models.door import load_model
    from netdial.models.predict import predictions
    from netdial.models.use import Use

    if out is not None:
        check_replaceable(out, "a table of predictions", Path.is_file, [table, path])
        check_writable(out)
    loaded = load_model(path)
    if isinstance(loaded, dict):
        described(path, {})  # refuses tensors of which nobody knows the network
    use: Use | None = getattr(loaded, "use", None)
    if use is None or use.table is None:
        raise ConfigError(
            f"{path}: does not say how the columns of a table become inputs; it was trained on something else, or written "
            "before that was kept: fit or export it again"
        )
    found, remarks = predictions(loaded, use, table, lam=lam, n_samples=samples, level=level)
    for remark in remarks:
        print(f"netdial: {remark}", file=sys.stderr)
    if out is not None:
        text = found.to_csv(index=False)
        alike = starts_as(text.partition("\n")[0])
        write_text(check_replaceable(out, "a table of such predictions", alike), text)
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


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns predictions as one object for each row."""
    return [
        {str(key): value for key, value in row.items()} for row in found.to_dict(orient="records")
    ]
