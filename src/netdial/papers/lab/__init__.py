"""What the experiments of the papers share: cells of work, tables, pages, reference values."""
