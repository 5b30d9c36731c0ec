"""Choosing settings: an equal grid for every algorithm, on a split and seeds of which nothing is reported."""
