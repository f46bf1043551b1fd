"""Schedules, energies, profiles and plans: mathematics, no model and no random key."""
