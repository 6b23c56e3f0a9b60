"""Analyses of the family of a run: pruning, evidence, choice and fine-tuning."""
