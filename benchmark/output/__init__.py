"""How things are shown and written: tables, progress, files. Knows nothing of what is measured."""
