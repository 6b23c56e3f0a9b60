"""From a trained network to a small file: shared values (``Codebook``), and files that hold them in few bytes (``.ndz``)."""

from netdial.compression.codebook import Codebook
from netdial.compression.costs import Ledger
from netdial.compression.export import to_folder, to_safetensors
from netdial.compression.file import Contents, ledger, read, write

__all__ = [
    "Codebook",
    "Contents",
    "Ledger",
    "ledger",
    "read",
    "to_folder",
    "to_safetensors",
    "write",
]
