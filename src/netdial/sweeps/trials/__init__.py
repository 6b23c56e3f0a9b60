"""Trials: what kinds there are, how one is made, and when one is stopped early."""
