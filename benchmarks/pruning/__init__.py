"""Weights that are removed: the tables of the 2022 paper, and what pruning costs."""
