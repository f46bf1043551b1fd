"""Samplers by their samples: many at once, kept on disk, compared, raced."""
