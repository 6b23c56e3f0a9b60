"""Latency of structures: tables measured on the target machine, terms in the loss."""

from netdial.structure.latency.measuring import measure_network, measure_table, time_modules
from netdial.structure.latency.table import LatencyAgreement, LatencyLookup, OperationTime
from netdial.structure.latency.terms import (
    AdditiveTerm,
    ConstrainedTerm,
    FbnetTerm,
    HingeTerm,
    LatencyUnit,
)

__all__ = [
    "AdditiveTerm",
    "ConstrainedTerm",
    "FbnetTerm",
    "HingeTerm",
    "LatencyAgreement",
    "LatencyLookup",
    "LatencyUnit",
    "OperationTime",
    "measure_network",
    "measure_table",
    "time_modules",
]
