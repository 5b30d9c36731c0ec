"""One file for commands that belong together: parsing and messages only. Everything heavy is imported by the command that needs it."""
