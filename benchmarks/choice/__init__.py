"""How λ is chosen: by evidence, by losses, within one standard error; and how sure predictions are."""
