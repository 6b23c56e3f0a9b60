"""Files on disk: atomic writes, locks, one safe container, and checks of what comes from outside."""
