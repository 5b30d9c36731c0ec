"""The comparison: runs, records, reports."""

__version__ = "0.1.0"
