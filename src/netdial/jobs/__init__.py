"""Runs and what is read off them: the run folder, and the curves over complexity that its records hold."""
