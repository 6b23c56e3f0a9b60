"""From a trained network to few bits: sparsify, share values, train what is left, spend nothing on what changes nothing."""
