"""What figures of several areas share: results, times, data, problems, a peer."""
