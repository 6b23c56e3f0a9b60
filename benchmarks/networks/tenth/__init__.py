"""The tenth sample of networks: subclassed layers, structured matrices, controls, signs."""

from benchmarks.networks.tenth import dense, others, rows, series, vision, words

NETWORKS = {
    **vision.NETWORKS,
    **dense.NETWORKS,
    **series.NETWORKS,
    **words.NETWORKS,
    **rows.NETWORKS,
    **others.NETWORKS,
}
