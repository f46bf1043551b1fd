"""What the site's own checks say of this tree, but for the built site, which CI builds (``.ci/site/build.py``)."""

import textwrap
import types

import broken_links
import dangling_references
import page_texts
import pytest
import undocumented


def test_no_link_of_a_page_leads_nowhere():
    assert list(broken_links.broken_in_pages()) == []


def test_pages_and_headings_that_are_named_are_there():
    assert list(dangling_references.dangling()) == []


@pytest.mark.core
def test_every_public_name_says_what_it_is_and_every_function_has_an_example():
    assert [str(lack) for lack in undocumented.missing()] == []


def unmarked(text):
    """What is dangling on purpose has a mark here, lest it be found in this very file."""
    return text.replace("~", "")


@pytest.fixture
def small_tree(tmp_path):
    """A tree with one page and one module, and what is wrong with them."""
    files = {
        "README.md": """
            # A page
            ## What is `here`
            [good](#what-is-here) [file](mdm_jax/code.py#L1) [elsewhere](https://example.org/x) `[code](no.md)`
            [no file](gone.md) [no heading](#gone) [no line](mdm_jax/code.py#L99) [not relative](/README.md)
            [`named`](mdm_jax/code.py) [`unnamed`](mdm_jax/code.py)
            `mdm_jax/code.py::named`, `::unnamed`, `test_unnamed`, `mdm_jax/gone.py`
            [![no picture](gone.png)](#a-page)
            ```text
            [shown, no link](gone.md)
            ```
            """,
        "mdm_jax/code.py": '''
            """See README~.md, "What is here", and GONE~.md.

            And README~.md, "What
            is gone"; THERE~.md, "Two
            lines".
            """
            # THERE~.md,
            # "Two lines"; notes ~A10; arXiv 2509.13866
            def named(): ...
            ''',
        "mdm_jax/THERE~.md": "# Two lines\n",
    }
    for name, text in files.items():
        path = tmp_path / unmarked(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(unmarked(textwrap.dedent(text)).lstrip("\n"), encoding="utf-8")
    return tmp_path


@pytest.mark.core
def test_broken_links_are_found(small_tree):
    assert list(broken_links.broken_in_pages(small_tree)) == [
        "README.md, line 4: the link to gone.md leads nowhere.",
        "README.md, line 4: the link to #gone names no heading of README.md.",
        "README.md, line 4: the link to mdm_jax/code.py#L99 names a line that code.py does not have.",
        "README.md, line 4: the link to /README.md is not relative.",
        "README.md, line 7: the link to gone.png leads nowhere.",
        "README.md, line 5: mdm_jax/code.py defines no unnamed.",
    ]


@pytest.mark.core
def test_dangling_references_are_found(small_tree):
    assert list(dangling_references.dangling(small_tree)) == [
        "README.md, line 6: there is no mdm_jax/gone.py.",
        "README.md, line 6: there is no test_unnamed, or there are several and the page does not say where.",
        "README.md, line 6: there is no unnamed in mdm_jax/code.py.",
        unmarked("mdm_jax/code.py, line 1: there is no page GONE~.md."),
        "mdm_jax/code.py, line 3: README.md has no heading 'What is gone'.",
        unmarked("mdm_jax/code.py, line 8: 'notes ~A10' is not in the tree."),
        "mdm_jax/code.py, line 8: PAPERS.md does not have arXiv 2509.13866.",
    ]


@pytest.mark.core
def test_headings_are_called_as_code_hosts_call_them():
    page = "# What `alpha(t)` is\n## Why $K$ steps?\n## Why $K$ steps?\n```sh\n# no heading\n```\n"
    assert page_texts.anchors(page) == ["what-alphat-is", "why-k-steps", "why-k-steps-1"]


@pytest.mark.core
def test_broken_links_of_a_site_are_found(tmp_path):
    (tmp_path / "index.html").write_text(
        '<h1 id="top">x</h1><a href="#top"></a><a href="a.html#b"></a><a href="a.html#c"></a><img src="p.png">'
    )
    (tmp_path / "a.html").write_text(
        '<p id="b"></p><p id="b"></p><a href="../outside.html"></a><a href="https://example.org"></a>'
    )
    assert list(broken_links.broken_in_site(tmp_path)) == [
        "a.html: two places are called b.",
        "a.html: the link to ../outside.html leads nowhere.",
        "index.html: the link to a.html#c names no place in that page.",
        "index.html: the link to p.png leads nowhere.",
    ]


@pytest.mark.core
def test_a_name_without_docstring_or_example_is_found(monkeypatch):
    face = types.ModuleType("mdm_jax.face", "A face.")
    exec(
        "def bare(): ...\ndef said(): 'Says.'\ndef shown():\n    'Says.\\n\\n    >>> 1\\n    '\nclass Bare: ...",
        vars(face),
    )
    face.__all__ = ["Bare", "bare", "said", "shown"]
    monkeypatch.setattr(undocumented, "faces", lambda: [face])
    assert [str(lack) for lack in undocumented.missing()] == [
        "mdm_jax.face.Bare has no docstring.",
        "mdm_jax.face.bare has no docstring.",
        "mdm_jax.face.said has no example.",
    ]


@pytest.mark.core
def test_formulas_keep_their_spaces_and_their_stops():
    mathematics = pytest.importorskip("rendering.mathematics")  # of the extra "docs"
    faults = types.SimpleNamespace(faults=[])

    def made(tex):
        return mathematics.mathml(faults, "here", tex, display=False)

    space = '<mspace width="0.17em"/>'
    assert f"<mi>log</mi>{space}<mi>x</mi>" in made(r"\log x")
    assert space not in made(r"\sin^2 (x)") + made(r"\log(x)")
    assert all("<mo" in made(relation) for relation in (r"x \sim y", r"x \Vert y"))
    first, second = made("a"), made("b")
    kept = mathematics.with_its_stop(f"<p>{first} is {second}. And</p>")
    assert kept == f'<p>{first} is <span class="kept">{second}.</span> And</p>'
    assert faults.faults == []
