"""Jobs: the whole of one run, for every way of training."""

from netdial.jobs import fit as fit  # ways register themselves
from netdial.jobs import search as search
from netdial.jobs import shrink as shrink
