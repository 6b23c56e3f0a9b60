"""Running the members of a family: any network with other tensors in place of its own, one or many members at once."""
