"""The fourteenth sample of networks: heads that give lists of dictionaries, edges as buffers, masks, hooks, flows."""

from benchmarks.networks.fourteenth import (
    agents,
    generators,
    graphs,
    others,
    rows,
    series,
    sound,
    texts,
    vision,
    words,
)

NETWORKS = {
    **vision.NETWORKS,
    **generators.NETWORKS,
    **words.NETWORKS,
    **texts.NETWORKS,
    **agents.NETWORKS,
    **sound.NETWORKS,
    **series.NETWORKS,
    **rows.NETWORKS,
    **graphs.NETWORKS,
    **others.NETWORKS,
}
