"""The catalogue: methods with their settings and costs, streams with their options, cards and sheets."""
