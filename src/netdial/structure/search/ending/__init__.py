"""What follows a search: the final of its structures, and random search at equal cost."""
