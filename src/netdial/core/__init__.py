"""Words that every part shares: errors, parameter layouts, records, seeded randomness, atomic files."""
