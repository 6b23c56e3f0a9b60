"""What commands left in the records of a run, each sort in a file."""
