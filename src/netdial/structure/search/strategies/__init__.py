"""Strategies of search, one file each; they register themselves."""

from netdial.structure.search.strategies import darts as darts
from netdial.structure.search.strategies import dnas as dnas
from netdial.structure.search.strategies import drnas as drnas
from netdial.structure.search.strategies import enas as enas
from netdial.structure.search.strategies import fair as fair
from netdial.structure.search.strategies import family as family
from netdial.structure.search.strategies import gdas as gdas
from netdial.structure.search.strategies import pc as pc
from netdial.structure.search.strategies import random_search as random_search
from netdial.structure.search.strategies import snas as snas
from netdial.structure.search.strategies import trials as trials
