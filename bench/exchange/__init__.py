"""Logs of other libraries in, files for other libraries out."""
