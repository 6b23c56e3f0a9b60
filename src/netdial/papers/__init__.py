"""Experiments of the papers, each by name: cells that are made once, tables against the published figures, plots."""

from __future__ import annotations

from netdial.papers.lab.lab import EXPERIMENTS, folder_of, perform

__all__ = ["EXPERIMENTS", "folder_of", "perform"]
