"""What there is to choose from: methods with their settings and costs, streams with their options, cards and sheets."""
