"""netdial."""
