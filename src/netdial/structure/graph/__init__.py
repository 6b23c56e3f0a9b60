"""Graphs of a search space: nodes, edges with operations, genotypes."""
