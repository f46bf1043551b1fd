"""One module per claim; ``python -m experiments`` lists them, and runs them. The instrument is in ``experiments.tools``."""
