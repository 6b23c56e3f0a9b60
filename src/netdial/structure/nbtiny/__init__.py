"""NB-Tiny: the quality of all 729 networks of a small search space, trained on this machine or read from the file beside it.

The ground truth for search strategies that anyone can make again in minutes, without a download:
``python -m netdial.structure.nbtiny FILE``.
"""

from netdial.structure.nbtiny.cells import CELLS, EDGES, OPERATIONS, cell_code, cell_index
from netdial.structure.nbtiny.problems import PROBLEMS, TinyProblem
from netdial.structure.nbtiny.regret import expected_regret, random_search_regret
from netdial.structure.nbtiny.table import TinyTable, load_table
from netdial.structure.nbtiny.training import TinyRecipe, TrainedCells, train_cells

__all__ = [
    "CELLS",
    "EDGES",
    "OPERATIONS",
    "PROBLEMS",
    "TinyProblem",
    "TinyRecipe",
    "TinyTable",
    "TrainedCells",
    "cell_code",
    "cell_index",
    "expected_regret",
    "load_table",
    "random_search_regret",
    "train_cells",
]
