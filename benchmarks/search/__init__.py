"""Search for the structure of a network: regrets, costs, latency."""
