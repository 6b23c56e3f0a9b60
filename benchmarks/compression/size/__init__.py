"""Size of compressed networks, beside what is lost, and beside other ways."""
