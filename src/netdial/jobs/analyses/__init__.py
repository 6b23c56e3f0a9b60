"""What is done to the family of a run: pruning, weighing, choosing and fine-tuning."""
