"""The group lasso and its regressions, used as a baseline."""
