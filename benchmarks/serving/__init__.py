"""A server of a family: requests per second, first answers, long use."""
