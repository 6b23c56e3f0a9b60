"""Where channels of a layer flow, and what meets them."""
