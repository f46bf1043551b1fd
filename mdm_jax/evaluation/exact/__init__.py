"""Samplers by their exact laws, in small worlds, and schedules tuned by them."""
