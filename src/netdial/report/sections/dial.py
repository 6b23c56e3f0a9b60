"""The dial of a family's page: what the page needs to know to move its figures along λ and along the size of pruned members.

Everything that depends on λ is in the page's data already: records of members, and the details that evaluation wrote. What is
made here is how they are shown, which member was chosen, and all networks among which a budget may choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from netdial.core.records import Record
from netdial.report.text import MEASURES, loss_words
from netdial.runs.curves import EXCESS, EXCESS_ERROR, Headline, MemberRow, metrics_of
from netdial.runs.prunings import prunings
from netdial.runs.schemas.details import Details
from netdial.runs.surfaces import DEFAULT, PrunedSurface, pruned

_FLOAT = 4


@dataclass(frozen=True)
class Shown:
    """A number that the dial shows: record without the part of the data, heading, how it is written, and its term."""

    name: str
    title: str
    format: str
    term: str
    by_part: bool = True
    higher: bool = False


READINGS = (
    Shown("accuracy", "accuracy", ".2%", "accuracy", higher=True),
    Shown("rmse", "RMSE", ".4~g", "rmse"),
    Shown("r2", "R²", ".3f", "r2", higher=True),
    Shown("nll", "NLL, nats", ".3f", "nll"),
    Shown("accuracy_predictive", "predictive accuracy", ".2%", "predictive", higher=True),
    Shown("rmse_predictive", "predictive RMSE", ".4~g", "predictive"),
    Shown("kl_bits", "KL, bits", ",.0f", "kl", by_part=False),
    Shown("effective_parameters", "effective parameters", ",.0f", "effective", by_part=False),
    Shown("norm", "norm", ".4~g", "norm", by_part=False),
)


@dataclass(frozen=True)
class Affordable:
    """A network that a budget may choose.

    Attributes:
        lam: complexity value.
        share: share of the weights that was removed; 0 for a whole member.
        words: what it is.
        loss: by the metric that decides, on validation data.
        params: weights that are not 0.
        bytes: what its tensors take up.
        ms: milliseconds for a batch, where they were measured.
    """

    lam: float
    share: float
    words: str
    loss: float
    params: float | None = None
    bytes: float | None = None
    ms: float | None = None


def dial_of(
    rows: Sequence[MemberRow],
    records: Sequence[Record],
    answer: Headline | None,
    constant: Mapping[str, float],
    config: Mapping[str, Any],
    details: Details | None,
) -> dict[str, Any] | None:
    """Returns what the dial needs, as plain values; None without two members to turn between.

    Args:
        rows: members by rising λ.
        records: records of the run.
        answer: the answer of the run.
        constant: what a constant is worth.
        config: configuration of the run.
        details: what there is to see of members; None for runs that did not record it.
    """
    if len(rows) < 2:
        return None
    recorded = {name for row in rows for name in row.values}
    parts = [part for part in ("valid", "test") if any(n.startswith(f"{part}/") for n in recorded)]
    shown = [
        reading
        for reading in READINGS
        if any(name in recorded for name in _names(reading, parts or [""]))
    ]
    surface = _surface(records)
    decides = answer.metric if answer is not None else f"valid/{metrics_of(config)[1]}"
    return {
        "lams": [row.lam for row in rows],
        "best": answer.best.lam if answer else None,
        "chosen": answer.chosen.lam if answer else None,
        "simplest": answer.simplest.lam if answer and answer.simplest else None,
        "parts": parts,
        "readings": [asdict(reading) for reading in shown],
        "constant": dict(constant),
        "decides": decides,
        "decides_words": MEASURES.get(decides, (decides, ""))[0],
        "excess": [EXCESS, EXCESS_ERROR],
        "excess_words": loss_words(decides, config),
        "surface": None if surface is None else _grid(surface),
        "candidates": [
            asdict(one) for one in candidates(rows, records, surface, config, details, decides)
        ],
    }


def candidates(
    rows: Sequence[MemberRow],
    records: Iterable[Record],
    surface: PrunedSurface | None,
    config: Mapping[str, Any],
    details: Details | None,
    decides: str,
) -> list[Affordable]:
    """Returns all networks of a run that were measured: whole members, pruned ones, and small dense ones."""
    whole, found = config.get("n_params"), []
    size = details.total("bytes") if details is not None else None
    if size is None and isinstance(whole, int):
        size = whole * _FLOAT
    for row in rows:
        if (loss := row.get(decides)) is not None:
            found.append(
                Affordable(
                    row.lam, 0.0, "whole", _loss(decides, loss), row.get("n_params") or whole, size
                )
            )
    for lam, share in [] if surface is None else sorted(surface.values):
        assert surface is not None
        loss = surface.get(lam, share, surface.decides)
        if share and loss is not None and surface.split == "valid":
            left = surface.get(lam, share, "params")
            if left is None and isinstance(whole, int):
                gone = surface.get(lam, share, "removed")
                left = whole - (whole * share if gone is None else gone)
            words, stored = f"{share:.4g} of the weights removed", surface.get(lam, share, "bytes")
            found.append(Affordable(lam, share, words, _loss(surface.decides, loss), left, stored))
    for one in prunings(records):
        loss = one.after.get(decides)
        if loss is not None:
            after = one.after
            times = {n: after.get(n) for n in after.values if n.startswith("ms_")}
            ms = times[min(times, key=lambda n: (len(n), n))] if times else None
            found.append(
                Affordable(
                    one.lam,
                    0.0,
                    f"small network ({', '.join(one.how) or 'slim'})",
                    _loss(decides, loss),
                    after.get("params"),
                    after.get("bytes"),
                    ms,
                )
            )
    return found


def _names(reading: Shown, parts: Sequence[str]) -> list[str]:
    """Returns the records that a reading may show."""
    return [f"{part}/{reading.name}" for part in parts] if reading.by_part else [reading.name]


def _surface(records: Iterable[Record]) -> PrunedSurface | None:
    """Returns the surface that a second slider moves over: that of the default criterion, if it was recorded."""
    found = [one for one in pruned(records) if len(one.shares) > 1]
    return next((one for one in found if one.name == DEFAULT), found[-1] if found else None)


def _grid(surface: PrunedSurface) -> dict[str, Any]:
    """Returns the values of a surface: λ x share x record."""
    names = sorted({name for cell in surface.values.values() for name in cell})
    return {
        "name": surface.name,
        "lams": list(surface.lams),
        "shares": list(surface.shares),
        "values": {
            name: [
                [surface.get(lam, share, name) for share in surface.shares] for lam in surface.lams
            ]
            for name in names
        },
    }


def _loss(decides: str, value: float) -> float:
    return -value if decides.endswith("/accuracy") else value
