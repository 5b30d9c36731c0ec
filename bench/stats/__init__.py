"""Statistics of few runs: pure functions of arrays. Whatever draws at random takes its generator as an argument."""
