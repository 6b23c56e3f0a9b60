"""The seventh sample of networks: scripted kernels, parametrised and stacked weights, hooks, memories, fields, molecules."""

from benchmarks.networks.seventh import learning, others, series, vision, words

NETWORKS = {
    **series.NETWORKS,
    **words.NETWORKS,
    **vision.NETWORKS,
    **learning.NETWORKS,
    **others.NETWORKS,
}
