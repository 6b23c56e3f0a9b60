"""Bayesian networks over a handful of discrete variables: which graph, given data, under structured priors."""

from netdial.structure.dags.graphs import all_dags, dag_of, edges_of
from netdial.structure.dags.posterior import DagPosterior, dag_posterior
from netdial.structure.dags.priors import BlockPrior, DagPrior, EdgePrior
from netdial.structure.dags.scores import FamilyScores

__all__ = [
    "BlockPrior",
    "DagPosterior",
    "DagPrior",
    "EdgePrior",
    "FamilyScores",
    "all_dags",
    "dag_of",
    "dag_posterior",
    "edges_of",
]
