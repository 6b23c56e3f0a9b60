"""Contenders, a file for each kind; importing this registers them, netdial's own first."""

from netdial.contest.contenders import linear, own, plain, trees

__all__ = ["linear", "own", "plain", "trees"]
