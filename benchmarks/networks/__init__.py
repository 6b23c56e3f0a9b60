"""Networks as people write them, in samples that were each written before the first of them was tried."""
