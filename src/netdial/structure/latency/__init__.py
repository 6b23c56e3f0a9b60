"""Latency of structures: tables measured on the target machine."""

from netdial.structure.latency.measuring import measure_network, measure_table, time_modules
from netdial.structure.latency.table import LatencyAgreement, LatencyLookup, OperationTime

__all__ = [
    "LatencyAgreement",
    "LatencyLookup",
    "OperationTime",
    "measure_network",
    "measure_table",
    "time_modules",
]
