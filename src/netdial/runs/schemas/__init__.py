"""What files of a run folder may hold: types and ranges, checked on reading."""
