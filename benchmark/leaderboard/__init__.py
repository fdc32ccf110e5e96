"""Telling results, from records alone: tables, plots, the page, one run. Loads neither models nor data."""
