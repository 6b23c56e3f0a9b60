"""Records of a training: what each epoch is written down as, for each way."""
