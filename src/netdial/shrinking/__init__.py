"""Networks that grow smaller while they are trained."""
