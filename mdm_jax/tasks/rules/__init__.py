"""Rules: rows that are right or wrong, drawn from a law that is known: brackets, and additions."""

from mdm_jax.tasks.rules.additions import ArithmeticTask, arithmetic
from mdm_jax.tasks.rules.dyck_words import BracketsTask, brackets
from mdm_jax.tasks.rules.spelled_rules import RULES, rule_from_spec

__all__ = ["RULES", "ArithmeticTask", "BracketsTask", "arithmetic", "brackets", "rule_from_spec"]
