"""Models as files: saving, loading and telling what a file is."""
