"""Exports: a model's artifact as a graph that other runtimes run, from raw feature vectors to propensities."""
