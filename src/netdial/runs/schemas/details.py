"""``details.json``: what there is to see of each member beyond its records, for figures that a slider moves. Loads no torch.

Written once, when the members are evaluated, and sealed with a digest. Runs of earlier versions have none. Numbers carry
all their digits and are rounded once, where they are shown; one that does not exist (AUC of a class without examples) is None.

Shapes: Y layers, H bins, C classes, N examples of a sample.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from netdial.core.storage.boundary import read_json, seal, unseal, validated
from netdial.core.storage.files import write_text
from netdial.runs.schemas.done import check_whole

Known = float | None
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Counts = list[Count]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bins(_Stored):
    """Equal bins of a histogram; what lies outside counts in the first or the last."""

    low: float
    high: float
    count: Annotated[int, Field(ge=1, le=1000)]


class LayerSize(_Stored):
    """A layer: its parameters, multiplications for one example, and bytes as float32."""

    name: str
    params: Count
    macs: Count
    bytes: Count


class ClassDetails(_Stored):
    """Figures by class ``[C]``, their means over classes that occur, and the confusion matrix ``[true][predicted]``."""

    support: Counts
    precision: list[Known]
    recall: list[Known]
    f1: list[Known]
    auc: list[Known]
    balanced_accuracy: Known = None
    mean_auc: Known = None
    confusion: list[Counts] | None = None


class NumberDetails(_Stored):
    """Figures of one target of a regression, in its own units.

    Attributes:
        rmse, mae, bias, r2: of the mean weights; the bias is the mean of predicted minus true.
        residuals: histogram of predicted minus true ``[H]``.
        coverage: probability of an interval -> share of the examples that lie in it.
        predicted: predictions of the sample ``[N]``.
    """

    rmse: Known
    mae: Known
    bias: Known
    r2: Known
    residuals: Counts
    coverage: dict[str, float] = Field(default_factory=dict)
    predicted: list[Known] = Field(default_factory=list)


class PartDetails(_Stored):
    """What a member does on one part of the data.

    Attributes:
        classes: for a classification.
        calibration: (mean top probability, share that is right, examples) of bins of the top probability.
        targets: for a regression, one for each target.
    """

    classes: ClassDetails | None = None
    calibration: list[tuple[float, float, Count]] = Field(default_factory=list)
    targets: list[NumberDetails] = Field(default_factory=list)


class MemberDetails(_Stored):
    """One member.

    Attributes:
        lam: complexity value.
        kept: weights of each layer that carry 99 % of its squared norm ``[Y]``.
        norm: root mean square of the weights of each layer ``[Y]``.
        effective: effective parameters of each layer ``[Y]``; empty for points.
        weights: histogram of log10 |w| ``[H]``.
        snr: histogram of log10 |mean| / standard deviation ``[H]``; empty for points.
        parts: ``valid`` and ``test``.
    """

    lam: Annotated[float, Field(gt=0)]
    kept: Counts
    norm: list[Known]
    weights: Counts
    effective: list[Known] = Field(default_factory=list)
    snr: Counts = Field(default_factory=list)
    parts: dict[str, PartDetails] = Field(default_factory=dict)


class TargetDetails(_Stored):
    """A target of a regression: name, bins of its residuals, and the true values of the sample by part."""

    name: str
    residuals: Bins
    truth: dict[str, list[Known]] = Field(default_factory=dict)


class ColumnRead(_Stored):
    """How a column of a table was read; ``importance`` is by how much the loss rises when it is shuffled."""

    column: str
    kind: str
    words: str
    importance: Known = None
    error: Known = None


class Details(_Stored):
    """All of it.

    Attributes:
        step: optimiser step of the members.
        layers: layers in the order of the network.
        weights, snr: bins of the histograms.
        members: by rising λ.
        classes: names of the classes.
        counted: what figures by class count: examples, or places of images and texts.
        targets: targets of a regression.
        columns: columns of a table.
        importance_lam: the member that importance was measured with.
        macs, bytes: of the network, with what no layer's weights multiply, and with buffers; None in earlier files.
    """

    format: Literal[1] = 1
    step: Count
    layers: list[LayerSize]
    weights: Bins
    snr: Bins
    members: list[MemberDetails]
    classes: list[str] = Field(default_factory=list)
    counted: Literal["examples", "places"] = "examples"
    targets: list[TargetDetails] = Field(default_factory=list)
    columns: list[ColumnRead] = Field(default_factory=list)
    importance_lam: float | None = None
    macs: Count | None = None
    bytes: Count | None = None

    def total(self, name: Literal["params", "macs", "bytes"]) -> int:
        """Returns what the network costs; of earlier files, what its layers cost."""
        whole: int | None = getattr(self, name, None)
        return sum(getattr(layer, name) for layer in self.layers) if whole is None else whole


def read_details(path: Path) -> Details | None:
    """Returns what a ``details.json`` holds, None if there is none.

    Raises:
        CheckpointError: it is damaged, was changed, is gone from a run that is done, or a newer netdial wrote it.
    """
    if not os.path.lexists(path):
        check_whole(path, 0)
        return None
    found: Any = read_json(path)
    if isinstance(found, dict):
        found = unseal(found, path)
    known: Details = validated(Details, found, path)
    return known


def write_details(path: Path, details: Details) -> None:
    """Writes a ``details.json`` with its digest, atomically."""
    plain = seal(
        details.model_dump(mode="json", exclude_defaults=True) | {"format": details.format}
    )
    write_text(path, json.dumps(plain, separators=(",", ":")) + "\n")
