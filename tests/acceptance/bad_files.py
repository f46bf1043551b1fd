"""Files that are not what they were, of every format that is read; ``bad_readers`` says what reads them."""

import copy
import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from bad_lines import HOSTILE
from bad_readers import FILES, FILES_OF_A_RUN
from bad_world import World
from hypothesis import strategies as st


def _raw(literal: str) -> str:
    return f"@raw {literal} raw@"


_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 8, 10**18, 2**62, 2**63, 10**30, _raw("1" + "0" * 4000), _raw("9" * 5000), 1.5,
    -0.0, 1e308, 1e-320, _raw("NaN"), _raw("Infinity"), _raw("-Infinity"), _raw("1e999"), "", "x", "x" * 100_000,
    "\ud800", "a\nb", "\x00", [], {}, [[]], [1, 2, "x"], [0.0, 1.0], [[1, 2], [3]], {"a": 1},
    "../../etc/passwd", "/etc/passwd", HOSTILE, {HOSTILE: HOSTILE}, 2.5, 1e39, -1e39,
    "run/../../outside/secret.json", "text:../outside/secret.json", "npy:/dev/zero", "text:pipe", "code", "digits",
    _raw("[" * 60 + "]" * 60), _raw("[" * 500 + "]" * 500), _raw("[" * 900 + "]" * 900),
    _raw('{"a":' * 950 + "1" + "}" * 950), _raw("[" * 100_000 + "]" * 100_000), [0] * 100_000, "beta", "linear",
    "0" * 64,     2**31, 10**6, 10**8, 10**12,
)  # fmt: skip


def _places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every entry; of long lists the ends."""
    found = [before]
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys if len(keys) <= 12 else [*keys[:3], *keys[-3:]]:
        found += _places(value[key], (*before, key))
    return found


@st.composite
def edited(draw: st.DrawFn, document: Any) -> str:
    """JSON with a few entries that are not what they were."""
    value = json.loads(json.dumps({"": document}))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        places = [place for place in _places(value) if place]
        *way, last = draw(st.sampled_from(places))
        holder = value
        for key in way:
            holder = holder[key]
        how = draw(st.sampled_from(("replace", "replace", "replace", "drop", "rename", "wrap", "twice")))
        if how == "replace" or not way:
            made = draw(st.sampled_from(_VALUES) | st.integers() | st.floats(width=32).filter(np.isfinite))
            holder[last] = copy.deepcopy(made)  # which a later change may change again
        elif how == "drop":
            del holder[last]
        elif how == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(("x", "", "__class__", "format", "self")))] = holder.pop(last)
        elif how == "wrap":
            holder[last] = [holder[last]]
        elif isinstance(holder, list):
            holder.insert(last, holder[last])
    text = json.dumps(value[""]) if "" in value else ""
    text = re.sub(r'"@raw (.*?) raw@"', lambda found: json.loads(f'"{found[1]}"'.replace("\n", "")) if '\\"' in found[1]
                  else found[1], text)  # fmt: skip
    if draw(st.integers(0, 9)) == 0 and text.startswith("{"):
        text = '{"format": "mdm_jax plan 1", "length": 3, ' + text[1:]  # every key is there twice then
    return text


@st.composite
def spoilt_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """A file cut, flipped or written anew in another encoding."""
    how = draw(st.sampled_from(("cut", "flip", "insert", "bom", "utf-16", "empty", "twice", "zeros", "noise", "lines")))
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    match how:
        case "cut":
            return content[:at]
        case "flip":
            flipped = bytearray(content or b"\0")
            flipped[at] ^= 1 << draw(st.integers(0, 7))
            return bytes(flipped)
        case "insert":
            return content[:at] + draw(st.binary(min_size=1, max_size=20)) + content[at:]
        case "bom":
            return b"\xef\xbb\xbf" + content
        case "utf-16":
            return content.decode("latin-1").encode("utf-16")
        case "empty":
            return b""
        case "twice":
            return content + content
        case "zeros":
            return content[:at] + bytes(1000)
        case "lines":
            return content.replace(b"\n", b"\r\n").replace(b",", b",\n")
    return draw(st.binary(max_size=200))


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """A file that begins as ``numpy.save`` begins one."""
    descr = draw(st.sampled_from((
        "'<i4'", "'>i4'", "'|i1'", "'<u8'", "'|O'", "'<f8'", "'<m8[s]'", "'<M8[s]'", "'|b1'", "'|S4'", "'<U9'", "()",
        "[]", "[('a','<i4')]", "[('a','|O')]", "('<i4',(2,))", "1", "None", "'<i400'", "'nonsense'", "'<i4,<i4'", "{}",
        "''",
        "b'<i4'", "'V0'", "'<i4'*9", "__import__('os').system('touch owned')", "'(2,)i4'", "['<i4']",
    )))  # fmt: skip
    shape = draw(st.sampled_from((
        "(40, 8)", "(8, 40)", "(320,)", "()", "(40, 0)", "(0, 8)", "(-40, -8)", "(40, 8, 1)", "(1000000, 1000000)",
        "(9223372036854775807, 2)", "(1" + "0" * 40 + ", 8)", "(40.0, 8)", "(True, 8)", "40", "None", "[40, 8]",
        "('40', 8)", "(" * 50 + "40" + ")" * 50, "(" + "-" * 3000 + "1, 8)", "(30, 1)", "(40L, 8L)",
        "(4" + "0" * 5000 + ", 8)",
    )))  # fmt: skip
    order = draw(st.sampled_from(("False", "True", "None", "1")))
    odd = ("", "", "", "\n", "}", "'", "\\", "(", "\x00", "  " * 6000, "\n  \n x", ", 'more': 1", "'''")
    header = "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }"
    header = (header + draw(st.sampled_from(odd))).encode("latin-1")
    version = draw(st.sampled_from(((1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (9, 9))))
    size = draw(st.sampled_from((len(header), len(header), len(header), 0, len(header) + 9, 65535)))
    said = size.to_bytes(2, "little") if version == (1, 0) else size.to_bytes(4, "little")
    if draw(st.integers(0, 15)) == 0:
        said = b"\xff" * len(said)
    data = draw(st.sampled_from((bytes(40 * 8 * 4), bytes(range(6)) * 1000, b"", bytes(7), b"\xff" * 4000)))
    return b"\x93NUMPY" + bytes(version) + said + header + data


@dataclasses.dataclass(frozen=True)
class Damage:
    """A file that is not what it was, and who reads it.

    Attributes:
        path: in the world.
        content: what it holds; ``None``: it is of another kind.
        kind: "file", "folder", "pipe", "loop", "away" (a link out of the folder) or "missing".
        reader: a name in ``READERS``, or a command line.
    """

    path: str
    content: bytes | None
    kind: str
    reader: str | tuple[str, ...]

    def inflict(self) -> None:
        """Replace the file in the current folder."""
        path = Path(self.path)
        path.unlink(missing_ok=True)
        match self.kind:
            case "file":
                path.write_bytes(self.content or b"")
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "loop":
                path.symlink_to(path.name)
            case "away":
                path.symlink_to(os.path.relpath("../outside/secret.json", path.parent))


@st.composite
def damages(draw: st.DrawFn, world: World) -> Damage:
    """A damaged file and its reader."""
    files = FILES if world.bare else FILES_OF_A_RUN
    path = draw(st.sampled_from([name for name in files if name in world.files]))
    reader = draw(st.sampled_from(files[path]))
    kind = draw(st.sampled_from((*["file"] * 12, "folder", "pipe", "loop", "away", "missing")))
    if kind != "file":
        return Damage(path, None, kind, reader)
    content = world.files[path]
    if path.endswith(".npy"):
        made = draw(arrays() | arrays() | spoilt_bytes(content))
    elif path.endswith(".json") and draw(st.integers(0, 3)):
        made = draw(edited(json.loads(content))).encode("utf-8", "surrogatepass")
    elif path.endswith(".jsonl") and draw(st.integers(0, 3)):
        lines = content.decode().splitlines()
        number = draw(st.integers(0, len(lines) - 1))
        lines[number] = draw(edited(json.loads(lines[number]))).replace("\n", " ")
        made = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    else:
        made = draw(spoilt_bytes(content))
    return Damage(path, made, "file", reader)
