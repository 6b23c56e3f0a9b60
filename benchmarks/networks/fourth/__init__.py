"""The fourth sample of networks: of kinds that none of the others has."""

from benchmarks.networks.fourth import images, others, sequences, tables

NETWORKS = {
    **images.NETWORKS,
    **sequences.NETWORKS,
    **tables.NETWORKS,
    **others.NETWORKS,
}
