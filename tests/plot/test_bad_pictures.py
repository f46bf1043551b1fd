"""A picture of what is none gets one sentence."""

import bad_pictures
import pytest
from answers import answers_of

pytestmark = pytest.mark.processes


def answers():
    return answers_of(bad_pictures.__file__)


@pytest.mark.parametrize("name", bad_pictures.CASES)
def test_what_is_none_gets_one_sentence(name):
    said = answers()[name]
    assert said.startswith(bad_pictures.CASES[name][1])
    assert said.endswith(".")
    assert "\n" not in said
