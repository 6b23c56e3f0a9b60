"""A training step of a chain as one compiled operation: an option, built on this machine by its C++ compiler."""
