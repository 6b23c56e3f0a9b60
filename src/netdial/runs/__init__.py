"""Run folders: settings, records, curves, listing. Works without torch."""
