"""Run folders: settings, records, curves, listing. Works without torch."""

FIRST_WAY = "fit"
"""The way of training of run folders that do not name one."""
