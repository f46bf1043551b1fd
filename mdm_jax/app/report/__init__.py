"""The page that explains a run."""
