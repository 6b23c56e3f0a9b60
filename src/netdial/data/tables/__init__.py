"""Tables: CSV, TSV, Parquet and Excel files as splits, and the schema that reads new rows the same way.

``read`` makes a frame of a file, ``table`` makes splits of it, and ``schema.TableSchema`` is what was learned about its
columns: a plain value that an exported network carries along. ``options`` can be read without torch and pandas.
"""
