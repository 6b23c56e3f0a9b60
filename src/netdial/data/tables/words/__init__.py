"""What is written in a cell of text: numbers, dates and words, and where that can be read in two ways."""
