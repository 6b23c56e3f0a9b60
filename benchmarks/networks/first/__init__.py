"""The first sample of networks: blocks, and small networks as people write them."""

from benchmarks.networks.first import blocks, sequences, various, vision
from benchmarks.networks.inputs import fed

NETWORKS = {
    **blocks.networks(),
    **fed(vision.NETWORKS, vision.X),
    **sequences.NETWORKS,
    **various.NETWORKS,
}
