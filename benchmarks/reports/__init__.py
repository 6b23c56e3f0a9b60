"""Reports in a browser: size and speed."""
