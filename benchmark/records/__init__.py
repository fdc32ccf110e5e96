"""Records of runs: their schema, files and environment, and the settings that were tuned."""
