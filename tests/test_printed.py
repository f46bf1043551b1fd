"""What an example prints is held against what is shown: what passes, and above all what does not."""

import pytest
from printed import difference

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("", ""),
        ("two  words", "two words\n"),
        ("[1, 2]", "[ 1,  2]"),
        ("0.333", "0.3334"),
        ("0.333", "0.332"),  # rounded on another processor
        ("0.0", "-1e-09"),
        ("12.345678", "12.345121"),
        ("1.5e-3", "1.6e-03"),
        ("inf nan True", "inf nan True"),
        ("...", ""),
        ("...", "anything 1 2"),
        ("loss ...", "loss"),
        ("loss ... in 3 steps", "loss 2.5 (0.1 s) in 3 steps"),
        ("a ... b ... c", "a 1 b 2 b 3 c"),
        ("[0.0, 0.106..., 1.0]", "[0.0, 0.10612, 1.0]"),
        ("[27. 12.  3.]", "[27. 12. 3.]"),
        ("[0.   0.75]", "[0.01 0.74]"),
    ],
)
def test_what_is_alike(shown, printed):
    assert difference(shown, printed) is None


@pytest.mark.parametrize(
    ("shown", "printed", "said"),
    [
        ("word", "work", "'word' is shown and 'work' printed"),
        ("True", "False", "'True' is shown and 'False' printed"),
        ("7", "8", "'7' is shown and '8' printed"),
        ("100000", "100001", "'100000' is shown and '100001' printed"),
        ("0.333", "0.335", "'0.333' is shown and '0.335' printed"),
        ("0.1", "-0.1", "'0.1' is shown and '-0.1' printed"),
        ("27.", "28.", "'27.' is shown and '28.' printed"),
        ("0.", "0.02", "'0.' is shown and '0.02' printed"),
        ("1.0", "inf", "'1.0' is shown and 'inf' printed"),
        ("12.345678", "12.355678", "'12.345678' is shown and '12.355678' printed"),
        ("1.5e-3", "1.5e-2", "'1.5e-3' is shown and '1.5e-2' printed"),
        ("", "7", "0 words are shown and 1 printed"),
        ("a b", "a", "2 words are shown and 1 printed"),
        ("a", "a b", "1 words are shown and 2 printed"),
        ("(1, 2)", "[1, 2]", "'(' is shown and '[' printed"),
        ("loss ... in 3 steps", "loss 2.5 in 4 steps", "what follows ... is not printed"),
        ("a ... b ... c", "a 1 c 2 b", "what follows ... is not printed"),
    ],
)
def test_what_differs_is_named(shown, printed, said):
    answer = difference(shown, printed)
    assert answer is not None
    assert said in answer
    assert answer.endswith(f"--- shown\n{shown}\n--- printed\n{printed}")
