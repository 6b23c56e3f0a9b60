"""The twelfth sample of networks: as libraries and well-known repositories write them; configurations, factories, helpers."""

from benchmarks.networks.twelfth import (
    agents,
    generators,
    people,
    pictures,
    rows,
    series,
    texts,
    vision,
    words,
)

NETWORKS = {
    **vision.NETWORKS,
    **pictures.NETWORKS,
    **people.NETWORKS,
    **generators.NETWORKS,
    **words.NETWORKS,
    **texts.NETWORKS,
    **series.NETWORKS,
    **rows.NETWORKS,
    **agents.NETWORKS,
}
