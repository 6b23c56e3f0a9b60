"""Networks that people have, those of ``benchmarks.networks``: which can be cut and trained."""
