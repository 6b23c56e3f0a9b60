"""Data in memory: whatever people hold their data in becomes a checked ``Dataset`` or a checked ``Loader``."""

from netdial.data.memory.containers import Data, Named, as_dataset, as_loader, is_loader
from netdial.data.memory.examples import as_inputs
from netdial.data.memory.loader import Loader

__all__ = ["Data", "Loader", "Named", "as_dataset", "as_inputs", "as_loader", "is_loader"]
