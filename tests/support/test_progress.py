import pytest

from mdm_jax.support import progress


@pytest.mark.core
def test_it_counts(capsys):
    with progress.bar(10, "training", "step", start=3) as advance:
        advance(4, loss="1.25")
        advance()
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.strip().splitlines()[-1].split("\r")[-1]
    assert "training" in last
    assert "8/10" in last
    assert "loss=1.25" in last


@pytest.mark.core
def test_silence(capsys):
    with progress.bar(10, "training", "step", show=False) as advance:
        advance(4, loss=1.0)
        advance()
    shown = capsys.readouterr()
    assert shown.out == shown.err == ""


def test_it_is_closed_when_the_work_fails(capsys):
    def work():
        with progress.bar(3, "sampling", "row") as advance:
            advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "1/3" in capsys.readouterr().err
    with progress.bar(2, "again", "row") as advance:
        advance(2)
    assert "2/2" in capsys.readouterr().err


def test_a_log_is_not_flooded(capsys):
    with progress.bar(1000, "training", "step") as advance:
        for _ in range(1000):
            advance()
    # no terminal here: the first line and the last
    assert capsys.readouterr().err.count("\r") <= 4
