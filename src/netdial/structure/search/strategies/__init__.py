"""Strategies of search, one file each."""

from netdial.structure.search.strategies import darts as darts  # strategies register themselves
from netdial.structure.search.strategies import random_search as random_search
