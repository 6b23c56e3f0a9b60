"""The thirteenth sample of networks: base classes of models, state that training moves, draws."""

from benchmarks.networks.thirteenth import (
    agents,
    generators,
    learning,
    others,
    pictures,
    rows,
    series,
    sets,
    texts,
    vision,
    words,
)

NETWORKS = {
    **vision.NETWORKS,
    **pictures.NETWORKS,
    **learning.NETWORKS,
    **generators.NETWORKS,
    **words.NETWORKS,
    **texts.NETWORKS,
    **series.NETWORKS,
    **rows.NETWORKS,
    **sets.NETWORKS,
    **agents.NETWORKS,
    **others.NETWORKS,
}
