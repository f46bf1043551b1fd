"""Families of published models: which network a checkpoint is of, and where its parameters lie."""
