"""Channels of a network: tracing it, which channels belong together, and removing them exactly."""
