"""Data: real tasks, split once into train, validation and test parts, with their provenance.

``load`` takes a name, a table or a user's function and returns ``Splits`` of three ``Dataset``
parts. Nothing here knows of λ, and nothing is downloaded.
"""

from netdial.data.dataset import Dataset, Kind, Splits
from netdial.data.load import load, names
from netdial.data.tables import TableOptions, TableSchema
from netdial.data.user import load_user

__all__ = ["Dataset", "Kind", "Splits", "TableOptions", "TableSchema", "load", "load_user", "names"]
