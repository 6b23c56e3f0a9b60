"""Tables of results for people, one file for each command; loaded when a result is shown."""
