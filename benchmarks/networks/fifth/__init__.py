"""The fifth sample of networks: of papers' repositories, of kinds that the others lack."""

from benchmarks.networks.fifth import (
    games,
    generators,
    images,
    learning,
    others,
    rows,
    series,
    sound,
    vision,
    words,
)

NETWORKS = {
    **images.NETWORKS,
    **vision.NETWORKS,
    **learning.NETWORKS,
    **generators.NETWORKS,
    **sound.NETWORKS,
    **series.NETWORKS,
    **words.NETWORKS,
    **rows.NETWORKS,
    **games.NETWORKS,
    **others.NETWORKS,
}
