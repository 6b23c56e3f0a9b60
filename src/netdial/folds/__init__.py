"""Cross-validation in one run: λ for a family where no rows can be spared for validation."""

from netdial.folds.cross import CrossValidated, HeldOut, cross_validate

__all__ = ["CrossValidated", "HeldOut", "cross_validate"]
