"""A retail population whose true propensities are known: what a model is measured against.

`docs/simulation.md` writes the generative model out; `population` holds its parameters.
"""
