"""Pickles as data: a small machine that knows a table's opcodes, calls nothing but what it is given, imports nothing.

Python's own unpickler imports whatever a file names and calls it. This one builds numbers, text, lists and
dictionaries; a name that is not on the caller's list is refused, and so is an opcode that only other things need.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from mdm_jax.support.text import shortened

_LARGEST_ITEM = 2**24
_MOST_OPCODES = 5_000_000  # a table of weights has some forty for each tensor
_MOST_GIVEN = 2**22  # items in what calls are given, all together: what they make may be as large, each time anew
_MARK = object()

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleRefused(ValueError):
    """Why a pickle is not taken, as the end of a sentence: "it ..."."""


class Maker:
    """What a pickle may call: a function of ours under the name of theirs."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


class Attributes:
    """An object of somebody else's class, of which only the attributes are kept."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}


def unpickled(stream: Any, known: Mapping[str, Any], persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value of the pickle that begins where ``stream`` stands, which is left behind its end.

    Args:
        stream: a file open for reading.
        known: what a name ("torch.FloatStorage") stands for; of these only a :class:`Maker` can be called.
        persistent: from the id of something outside the pickle to what stands for it.

    Raises:
        PickleRefused: a name that is not known, an opcode or a call that no table of weights has, a damaged pickle.
    """
    try:
        return _Machine(known, persistent).run(_Limited(stream))
    except PickleRefused:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, EOFError, OverflowError) as error:
        raise PickleRefused(f"has a damaged pickle ({type(error).__name__})") from None


class _Limited:
    """A stream of which no single item is read that is too large to be one, whatever length it claims."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.tell = stream, stream.tell

    def read(self, size: int) -> bytes:
        if size > _LARGEST_ITEM:
            raise PickleRefused(f"claims an item of {size:,} bytes in its pickle")
        return self.stream.read(size)

    def readline(self) -> bytes:
        return self.stream.readline(4096)


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, known: Mapping[str, Any], persistent: Callable[[Any], Any] | None) -> None:
        self.known, self.persistent = known, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.given = 0  # items in what calls were given

    def run(self, stream: _Limited) -> Any:
        """Obey opcodes up to the last one."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):  # pyright: ignore[reportArgumentType]
            if count > _MOST_OPCODES:
                raise PickleRefused(f"has more than {_MOST_OPCODES:,} entries in its pickle")
            name = opcode.name
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                self.stack.append(_EMPTY[name]())
            elif name in _TUPLES:
                size = _TUPLES[name]
                self.stack[-size:] = [tuple(self._last(size))]
            elif name == "STOP":
                return self.stack.pop()
            elif name not in ("PROTO", "FRAME"):
                self._obey(name, argument)
        raise PickleRefused("has a pickle without an end")

    def _obey(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "MARK":
                stack.append(_MARK)
            case "TUPLE" | "LIST":
                items = self._since_mark()
                stack.append(tuple(items) if name == "TUPLE" else items)
            case "DICT":
                items = self._since_mark()
                stack.append({})
                self._set(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set([key, value])
            case "SETITEMS":
                self._set(self._since_mark())
            case "APPEND":
                self._top(list).append(stack.pop())
            case "APPENDS":
                items = self._since_mark()
                _of(stack[-1], list).extend(items)
            case "ADDITEMS":
                items = self._since_mark()
                _of(stack[-1], set).update(map(simple, items))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "POP":
                stack.pop()
            case "GLOBAL":
                stack.append(self._named(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                attribute, module = _of(stack.pop(), str), _of(stack.pop(), str)
                stack.append(self._named(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                given = _of(stack.pop(), tuple)
                stack.append(self._called(stack.pop(), given))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Attributes):
                    self._count((state,))
                    stack[-1].values.update(_of(state, dict))  # of anything else attributes mean nothing to us
            case "BINPERSID" if self.persistent is not None:
                stack.append(self.persistent(stack.pop()))
            case _:
                raise PickleRefused(f"has the opcode {name} in its pickle, which no table of weights needs")

    def _named(self, name: str) -> Any:
        if name not in self.known:
            raise PickleRefused(
                f"names {shortened(repr(name))} in its pickle, which no table of weights needs (nothing was run): save "
                "the weights alone, as torch.save(model.state_dict(), FILE) does, or as safetensors"
            )
        return self.known[name]

    def _called(self, maker: Any, given: tuple[Any, ...]) -> Any:
        if not isinstance(maker, Maker):
            raise PickleRefused("calls in its pickle what is not there to be called (nothing was run)")
        self._count(given)
        return maker.make(*given)

    def _count(self, given: tuple[Any, ...]) -> None:
        """Refuse a pickle that has the same large item copied again and again, which takes it a few bytes each."""
        self.given += sum(len(item) for item in given if isinstance(item, str | bytes | tuple | list | dict | set))
        if self.given > _MOST_GIVEN:
            raise PickleRefused(f"gives more than {_MOST_GIVEN:,} items to what it calls in its pickle")

    def _last(self, size: int) -> list[Any]:
        items = self.stack[-size:]
        if len(items) < size or any(item is _MARK for item in items):
            raise PickleRefused("has a damaged pickle (a tuple of what is not there)")
        return items

    def _since_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _top(self, kind: type) -> Any:
        return _of(self.stack[-2], kind)

    def _set(self, items: list[Any]) -> None:
        held = _of(self.stack[-1], dict)
        held.update(zip(map(simple, items[::2]), items[1::2], strict=True))


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise PickleRefused(f"has a damaged pickle (a {kind.__name__} was expected)")
    return value


def simple(key: Any) -> Any:
    """A key that can be compared at once: a tuple of tuples of tuples may take for ever."""
    if not isinstance(key, str | int | float | bytes | None):
        raise PickleRefused("has a key in its pickle that is neither text nor a number")
    return key
