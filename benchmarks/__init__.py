"""Benchmarks: every figure of the project has a name, a file here and a command that prints it.

``python -m benchmarks list`` names them; ``python -m benchmarks NAME [--quick] [--json]`` runs one.
"""
