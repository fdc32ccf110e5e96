"""What is kept of a run: the schema, the files, where it was made, and the settings that were tuned."""
