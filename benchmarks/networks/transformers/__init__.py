"""Models of the transformers library from small random configurations, sample by sample.

What they share is in ``configurations.py``; importing these modules needs no transformers, making the models does.
"""
