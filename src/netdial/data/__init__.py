"""Data: real data sets, split once into train, validation and test parts, with their provenance.

``load_data`` takes a name, a table or a user's function and returns ``Splits`` of three ``Dataset``
parts. Nothing here knows of λ, and nothing is downloaded. Public names are loaded when they are first used, so that the
options of tables can be shown without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netdial.data.dataset import Dataset, Kind, Splits
    from netdial.data.loading import load_data, names
    from netdial.data.tables.options import TableOptions
    from netdial.data.tables.schema import TableSchema
    from netdial.data.user import load_user

_HOME = {
    "Dataset": "dataset",
    "Kind": "dataset",
    "Splits": "dataset",
    "TableOptions": "tables.options",
    "TableSchema": "tables.schema",
    "load_data": "loading",
    "load_user": "user",
    "names": "loading",
}

__all__ = [
    "Dataset",
    "Kind",
    "Splits",
    "TableOptions",
    "TableSchema",
    "load_data",
    "load_user",
    "names",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
