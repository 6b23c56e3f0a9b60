"""Kinds of trial: ways of training, and what is done to a trained family."""
