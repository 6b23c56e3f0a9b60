"""A network as a graph of operations, taken by ``torch.fx`` or ``torch.export``."""
