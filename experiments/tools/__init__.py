"""What experiments stand on: the instrument that runs them, and what several of them share."""
