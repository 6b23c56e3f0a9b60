"""Structure: which graph a network has, searched for as its weights are."""
