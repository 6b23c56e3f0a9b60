"""Trained networks made smaller: a family's front, transformers, and networks that are not trained on."""
