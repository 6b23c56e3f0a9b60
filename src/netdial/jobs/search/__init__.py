"""``search``: the structure of a network, found by a strategy in a search space."""

from netdial.jobs.search import way as way  # registers itself
