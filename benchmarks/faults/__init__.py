"""What is to go wrong without harm: wrong use, damaged files, kills."""
