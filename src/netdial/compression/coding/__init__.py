"""The codes of compressed files: the decoder of record, its models, and what makes them fast."""
