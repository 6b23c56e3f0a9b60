"""The third sample of networks: written after the first two, as other people write them."""

from benchmarks.networks.third import images, sequences

NETWORKS = {
    **images.NETWORKS,
    **sequences.NETWORKS,
}
