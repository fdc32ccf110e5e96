"""Whether runs can be trusted: ``suite`` runs small cells again, ``submission`` checks other people's records."""
