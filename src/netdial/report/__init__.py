"""Reports: figures and a self-contained page, made from the records of a run and nothing else (no torch)."""
