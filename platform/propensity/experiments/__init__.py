"""Trainings that judge a configuration: they are made, measured and left behind, and never become a model that scores.

`backtest` trains as of one cut-off after the other and looks at the window behind each; `tuning` searches a
configuration on windows that had ended before. Neither touches the registry.
"""
