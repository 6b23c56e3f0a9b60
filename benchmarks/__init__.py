"""Benchmarks: every figure of the project has a name, a file and a command that prints it.

``python -m benchmarks list`` names them; ``python -m benchmarks NAME [--quick] [--json]`` runs one.
Files lie in folders by area, with helpers of one area beside them (``_x.py``), those of several in ``common``, and the networks
of the zoo in ``networks``.
"""
