"""Tasks of rules by name, with the one setting that each has: ``brackets?kinds=2``, ``arithmetic?digits=8``."""

from mdm_jax.support.errors import require
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.tasks.rules.additions import DIGITS, arithmetic
from mdm_jax.tasks.rules.dyck_words import KINDS, LENGTH, brackets
from mdm_jax.tasks.spelling import whole

RULES = {"brackets": "kinds", "arithmetic": "digits"}
"""The setting of each."""


def rule_from_spec(spec: str, length: int | None) -> RowsTask:
    """The task of a spec that begins with one of :data:`RULES`; ``length`` is that of the rows of brackets alone."""
    name, mark, tail = spec.partition("?")
    word, equals, value = tail.partition("=")
    setting, told = RULES[name], f"{name}?{RULES[name]}=NUMBER"
    require(not mark or (word == setting and equals != ""), "spec", spec, f"{name} or {told}")
    number = whole({word: value}, setting, told.replace("NUMBER", "4"))
    if name == "arithmetic":
        return arithmetic(DIGITS if number is None else number)
    return brackets(LENGTH if length is None else length, KINDS if number is None else number)
