"""The second sample of networks: written after those that netdial had been mended for."""

from benchmarks.networks.inputs import fed
from benchmarks.networks.second import (
    backbones,
    dense,
    generative,
    mobile,
    parameters,
    patches,
    tabular,
    tokens,
)

NETWORKS = {
    **fed(backbones.NETWORKS, backbones.IMAGES),
    **fed(mobile.NETWORKS, backbones.IMAGES),
    **dense.NETWORKS,
    **generative.NETWORKS,
    **tokens.NETWORKS,
    **patches.NETWORKS,
    **tabular.NETWORKS,
    **parameters.NETWORKS,
}
