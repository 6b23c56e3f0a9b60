"""Whether a family is worth it: against rivals in equal processor time."""
