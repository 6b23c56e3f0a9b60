"""Tables: CSV, TSV, Parquet and Excel files as splits, and the schema that reads new rows the same way.

``files`` makes a frame of a file, ``words`` says what is written in a cell, and ``columns`` makes inputs of a column. ``table``
makes splits of it all, and ``schema.TableSchema`` is what was learned about the columns: a plain value that an exported
network carries along. ``options`` can be read without torch and pandas.
"""
