"""The eighth sample of networks: lectures, books, notebooks and agents of one file; caches, crops, several inputs."""

from benchmarks.networks.eighth import learning, others, series, vision, words

NETWORKS = {
    **series.NETWORKS,
    **words.NETWORKS,
    **vision.NETWORKS,
    **learning.NETWORKS,
    **others.NETWORKS,
}
