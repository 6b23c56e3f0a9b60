"""From a file to a frame: encoding, dialect, headings; text, Parquet and Excel."""
