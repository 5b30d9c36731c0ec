"""Learning rules: pure tensor functions on torch, with no input or output, clock, randomness or print of their own."""
