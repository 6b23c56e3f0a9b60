"""Layers that the engine puts into networks or finds in them: switches, picks, shifts, attention."""
