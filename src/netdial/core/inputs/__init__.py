"""Networks of several inputs, or with outputs in a dict, a tuple or a data class, as networks from one tensor to one tensor."""

from netdial.core.inputs.adapted import (
    SCORED,
    AnyOneTensor,
    OneTensor,
    OneTensorGraph,
    as_its_class,
    gives_all,
    one_tensor,
    own_class,
    packing_of,
    scoring,
    taken_in,
)
from netdial.core.inputs.columns import InputColumns
from netdial.core.inputs.modules import PartedInputs, ScoredOutput, scored
from netdial.core.inputs.outputs import OutputLayout, fixed, structured, together, unfit
from netdial.core.inputs.packing import Packing, as_packed, is_several

__all__ = [
    "SCORED",
    "AnyOneTensor",
    "InputColumns",
    "OneTensor",
    "OneTensorGraph",
    "OutputLayout",
    "Packing",
    "PartedInputs",
    "ScoredOutput",
    "as_its_class",
    "as_packed",
    "fixed",
    "gives_all",
    "is_several",
    "one_tensor",
    "own_class",
    "packing_of",
    "scored",
    "scoring",
    "structured",
    "taken_in",
    "together",
    "unfit",
]
