"""Networks of several inputs, or with outputs in a dict, a tuple or a data class, as networks from one tensor to one tensor."""

from netdial.core.inputs.adapted import (
    AnyOneTensor,
    OneTensor,
    OneTensorGraph,
    as_its_class,
    one_tensor,
    packing_of,
    taken_in,
)
from netdial.core.inputs.columns import InputColumns
from netdial.core.inputs.modules import PartedInputs, ScoredOutput, structured
from netdial.core.inputs.packing import Packing, as_packed, is_several

__all__ = [
    "AnyOneTensor",
    "InputColumns",
    "OneTensor",
    "OneTensorGraph",
    "Packing",
    "PartedInputs",
    "ScoredOutput",
    "as_its_class",
    "as_packed",
    "is_several",
    "one_tensor",
    "packing_of",
    "structured",
    "taken_in",
]
