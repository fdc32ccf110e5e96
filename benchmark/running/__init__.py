"""Making runs: from a request to records, with bases, selection, the search for settings and the trial of a method."""
