"""A trained model behind a port: rows in, predictions out, λ in every request. Needs the extra ``serve``."""
