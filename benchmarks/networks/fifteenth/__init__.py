"""The fifteenth sample of networks: inputs that are changed in place, layers taken by name, norms of whole batches, splines."""

from benchmarks.networks.fifteenth import sets, vision

NETWORKS = {**vision.NETWORKS, **sets.NETWORKS}
