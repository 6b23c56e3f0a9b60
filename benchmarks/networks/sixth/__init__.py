"""The sixth sample of networks: papers' repositories and courses; packed sentences, experts, operators, grids."""

from benchmarks.networks.sixth import dense, others, series, vision, words

NETWORKS = {
    **series.NETWORKS,
    **vision.NETWORKS,
    **dense.NETWORKS,
    **words.NETWORKS,
    **others.NETWORKS,
}
