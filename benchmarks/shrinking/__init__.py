"""Networks that shrink while they are trained: sizes, times, and other ways to such networks."""
