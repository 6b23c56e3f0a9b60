"""The eleventh sample of networks: the last years; towers, scans, streams that meet, tables, policies, lazy layers."""

from benchmarks.networks.eleventh import (
    agents,
    others,
    pictures,
    rows,
    series,
    sound,
    vision,
    words,
)

NETWORKS = {
    **vision.NETWORKS,
    **pictures.NETWORKS,
    **words.NETWORKS,
    **series.NETWORKS,
    **sound.NETWORKS,
    **rows.NETWORKS,
    **agents.NETWORKS,
    **others.NETWORKS,
}
