"""The project itself: how its source is built, and a newcomer's first minutes."""
