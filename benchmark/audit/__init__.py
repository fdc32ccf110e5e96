"""The release gate: may a new model replace the old one? ``gate`` is the command, ``rule`` the rule."""
