"""From pages, docstrings and files to HTML."""
