"""Sweeps: kills, overhead, scale."""
