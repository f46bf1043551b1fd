"""What the site's own checks say of this tree, but for the built site, which CI builds (``.ci/site/build.py``)."""

import json
import shutil
import subprocess
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
            <a id="place"></a>[a place](#place) [shown alone](#shown)
            ```text
            [shown, no link](gone.md) <a id="shown"></a>
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
        "README.md, line 8: the link to #shown names no heading of README.md.",
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


@pytest.mark.core
def test_what_users_write_for_a_name_is_what_faces_offer(tmp_path):
    griffe, api = pytest.importorskip("griffe"), pytest.importorskip("rendering.api")  # of the extra "docs"
    files = {
        "__init__.py": "from mdm_jax.theory import plans\nfrom mdm_jax.room import fit\n__all__ = ['fit', 'plans']",
        "room.py": "def fit(): ...\ndef check_fit(): ...",
        "theory/__init__.py": "from mdm_jax.theory import plans\n__all__ = ['plans']",
        "theory/plans.py": "def optimal(): ...\ndef _hidden(): ...",
    }
    for name, text in files.items():
        path = tmp_path / "mdm_jax" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    package = griffe.load("mdm_jax", search_paths=[str(tmp_path)], try_relative_path=False, resolve_aliases=True)
    assert api.offered(types.SimpleNamespace(package=package)) == {
        "mdm_jax": [],
        "mdm_jax.room.fit": ["fit"],
        "mdm_jax.theory": ["theory"],
        "mdm_jax.theory.plans": ["plans", "theory.plans"],
        "mdm_jax.theory.plans.optimal": ["plans.optimal", "theory.plans.optimal"],
    }


FOUND = [
    ["check_temperature", "mdm_jax.app", "1", "Refuse a temperature.", 0.02, ["app.check_temperature"]],
    ["tempered", "mdm_jax.models", "2", "A model at another temperature.", 1.0, ["models.tempered"]],
    ["Your own order", "Sampling", "3", "An order that asks the model.", 1.0, []],
    ["Your own model", "Models", "4", "Any function of tokens.", 1.0, []],
    ["The model", "Glossary", "5", "See my model, mdm.plans.optimal and learning.", 1.0, []],
    ["optimal", "mdm_jax.plans", "6", "The best sizes.", 1.0, ["plans.optimal", "theory.plans.optimal"]],
    ["optimal", "mdm_jax.grids", "7", "The best times.", 1.0, ["grids.optimal"]],
]


@pytest.mark.core
@pytest.mark.skipif(shutil.which("node") is None, reason="asks the search's own JavaScript")
def test_a_search_answers_first_what_was_asked():
    first = {
        "temperature": "2",
        "check_temperature": "1",
        "my model": "4",
        "My own order": "3",
        "plans.optimal": "6",
        "mdm.plans.optimal(profile,": "6",
        "mdm_jax.theory.plans.optimal": "6",
        "mdm.grids.opt": "7",
        "nowhere": None,
    }
    script = f"""
        global.window = {{}};
        {page_texts.read(page_texts.ROOT / ".ci" / "site" / "assets" / "ranking.js")}
        const {{ wordsOf, prepared, found }} = window.RANKING;
        const entries = prepared({json.dumps(FOUND)});
        const first = (asked) => found(entries, wordsOf(asked)).map((entry) => entry.url)[0] || null;
        console.log(JSON.stringify({json.dumps(list(first))}.map((asked) => [asked, first(asked)])));
    """
    said = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout
    assert dict(json.loads(said)) == first
