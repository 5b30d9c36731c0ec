"""What may be compared with what, and what comes of it."""
