"""Running methods on development streams, scoring them, and keeping the results."""
