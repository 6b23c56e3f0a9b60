"""Training: settings, one loop, one step of a family, feeds, checkpoints. Importing this package loads nothing heavy."""
