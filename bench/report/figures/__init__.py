"""Pictures of the comparison, one a file. The first line of a file's docstring is the caption."""
