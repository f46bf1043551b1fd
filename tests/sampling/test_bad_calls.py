"""Bad calls get one sentence that names the argument, what was given and what would be right: never a cast, never a
traceback. (In a process of its own: under pytest, beartype objects before the library does.)"""

import bad_calls
import pytest
from answers import answers_of

pytestmark = pytest.mark.processes


def answers():
    return answers_of(bad_calls.__file__)


@pytest.mark.parametrize("name", bad_calls.CASES)
def test_a_bad_call_gets_one_sentence(name):
    answer, wanted = answers()[name], bad_calls.CASES[name][1]
    assert answer["sentence"] is not None, answer
    assert answer["sentence"].startswith(wanted)
    assert answer["sentence"].endswith(".")
    assert "\n" not in answer["sentence"]


@pytest.mark.parametrize("name", ["task not called", "model not called"])
def test_of_a_function_of_the_library_it_is_said_to_call_it(name):
    function = {"task": "code", "model": "transformer"}[name.split()[0]]
    assert answers()[name]["sentence"].endswith(f"; got {function} itself: call it, as {function}(...).")
