"""What a reader needs first: what was chosen, cost and lost, how sure, beside a constant and the strongest rival."""
