"""One module per claim; ``python -m experiments`` lists and runs them. The instrument is in ``experiments.tools``."""
