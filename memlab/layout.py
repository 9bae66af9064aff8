"""C structs declared over RAM: one declaration gives the view, its repr, the hexdump's labels and a pahole listing.

Used by structs.py, which declares every struct of memlab, and by learners who declare their own::

    class buddy(Struct):
        flags = Flags()
        list = ListHead()
        order = U32()
        page = Ptr("struct page")

Offsets follow C's rules (each field aligned to its own width).  ``buddy.order.offset`` is a byte offset and
``buddy.order.word`` an index of 64-bit words; ``buddy(m, address).order`` reads RAM, and assigning to it writes RAM.
``buddy.order.column(w)`` is RAM seen from the field's word on: with ``order_of = buddy.order.column(w)`` and a buddy that starts at word b,
``order_of[b]`` is the word that the field starts in.  This file must import nothing of memlab.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import Any, ClassVar, Protocol

__all__ = ["Chars", "Field", "Flags", "ListHead", "ListHeads", "Ptr", "Struct", "U8", "U16", "U32", "U64", "U64s"]


class Memory(Protocol):
    """What a view needs of RAM: bytes at a virtual address, read and written."""

    def read(self, address: int, n: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...


class Field:
    """One member of a struct: its C type, width in bytes and, once declared, its name and offset in bytes."""

    def __init__(self, ctype: str, width: int, align: int | None = None, suffix: str = "") -> None:
        self.ctype, self.width, self.align, self.suffix = ctype, width, align or width, suffix
        self.name = ""
        self.offset = 0

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, view: Struct | None, owner: type | None = None) -> Any:
        if view is None:
            return self
        return self.decode(view.memory.read(view.address + self.offset, self.width))

    def __set__(self, view: Struct, value: Any) -> None:
        view.memory.write(view.address + self.offset, self.encode(value))

    @property
    def word(self) -> int:
        """Index of the 64-bit word at which the field starts, counted from the struct's first word."""
        return self.offset >> 3

    def column(self, words: memoryview[int]) -> memoryview[int]:
        """Return RAM's words from this field's word on: indexed by a struct's first word, it has the struct's field."""
        return words[self.word :]

    def decode(self, raw: bytes) -> Any:
        """Return the field's value from its bytes in RAM."""
        return int.from_bytes(raw, "little")

    def encode(self, value: Any) -> bytes:
        """Return the bytes that hold ``value``; ValueError if they do not fit the field."""
        if not isinstance(value, int) or not 0 <= value < 1 << 8 * self.width:
            raise ValueError(f"{self.name} holds a whole number from 0 to {(1 << 8 * self.width) - 1:#x}, not {value!r}")
        return value.to_bytes(self.width, "little")

    def show(self, value: Any) -> str:
        """Return the value as a repr prints it."""
        return str(value)

    def parts(self) -> Iterator[tuple[int, int, str]]:
        """Yield (offset in the struct, width, label) of each part that a hexdump names."""
        yield self.offset, self.width, self.name


class _Hex(Field):
    def show(self, value: Any) -> str:
        return f"{value:#x}"


class Flags(_Hex):
    """``unsigned long`` of flag bits, shown in hexadecimal."""

    def __init__(self) -> None:
        super().__init__("unsigned long", 8)


class Ptr(_Hex):
    """A pointer, shown as an address; NULL when 0."""

    def __init__(self, target: str) -> None:
        super().__init__(f"{target} *", 8)

    def show(self, value: Any) -> str:
        """Return the address, or NULL."""
        return f"{value:#x}" if value else "NULL"


class U64(Field):
    """``unsigned long`` shown in decimal."""

    def __init__(self, ctype: str = "unsigned long") -> None:
        super().__init__(ctype, 8)


class U32(Field):
    """``unsigned int``."""

    def __init__(self) -> None:
        super().__init__("unsigned int", 4)


class U16(Field):
    """``u16``."""

    def __init__(self) -> None:
        super().__init__("u16", 2)


class U8(Field):
    """``u8``."""

    def __init__(self) -> None:
        super().__init__("u8", 1)


class Chars(Field):
    """``char name[n]``: text, zero-terminated where it is shorter than the field."""

    def __init__(self, n: int) -> None:
        super().__init__("char", n, align=1, suffix=f"[{n}]")

    def decode(self, raw: bytes) -> str:
        """Return the text up to the terminating zero."""
        return raw.split(b"\0", 1)[0].decode("utf-8", "replace")

    def encode(self, value: Any) -> bytes:
        """Return the text with zeros behind it; ValueError if it does not fit."""
        raw = str(value).encode()
        if len(raw) >= self.width:
            raise ValueError(f"{self.name} holds at most {self.width - 1} bytes of text, not {value!r}")
        return raw.ljust(self.width, b"\0")

    def show(self, value: Any) -> str:
        """Return the text in quotes."""
        return repr(value)

    def parts(self) -> Iterator[tuple[int, int, str]]:
        """Yield each word of the text: the first by the field's name, the others with the index of their first byte too."""
        for i in range(0, self.width, 8):
            yield self.offset + i, 8, f"{self.name}[{i}]" if i else self.name


class _Words(Field):
    """A run of 64-bit words that is read as a tuple."""

    def __init__(self, ctype: str, words: int, suffix: str = "") -> None:
        super().__init__(ctype, 8 * words, align=8, suffix=suffix)

    def decode(self, raw: bytes) -> tuple[int, ...]:
        return tuple(memoryview(raw).cast("Q"))

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, Iterable):
            raise TypeError(f"{self.name} holds {self.width // 8} words, such as {(0,) * (self.width // 8)}, not {value!r}")
        words = tuple(value)
        if len(words) != self.width // 8 or not all(isinstance(word, int) and 0 <= word < 1 << 64 for word in words):
            raise ValueError(f"{self.name} holds {self.width // 8} words of 64 bits, not {value!r}")
        return b"".join(word.to_bytes(8, "little") for word in words)


class U64s(_Words):
    """``unsigned long name[n]``."""

    def __init__(self, n: int) -> None:
        super().__init__("unsigned long", n, f"[{n}]")

    def parts(self) -> Iterator[tuple[int, int, str]]:
        """Yield each element."""
        for i in range(self.width // 8):
            yield self.offset + 8 * i, 8, f"{self.name}[{i}]"


class ListHead(_Words):
    """``struct list_head``: two pointers, next and prev, each to the list_head member of a neighbour."""

    def __init__(self) -> None:
        super().__init__("struct list_head", 2)

    def show(self, value: Any) -> str:
        """Return both links."""
        return f"{{next={value[0]:#x}, prev={value[1]:#x}}}"

    def parts(self) -> Iterator[tuple[int, int, str]]:
        """Yield both links."""
        yield self.offset, 8, f"{self.name}.next"
        yield self.offset + 8, 8, f"{self.name}.prev"


class ListHeads(_Words):
    """``struct list_head name[n]``."""

    def __init__(self, n: int) -> None:
        super().__init__("struct list_head", 2 * n, f"[{n}]")

    def show(self, value: Any) -> str:
        """Return how many lists there are."""
        return f"[{len(value) // 2} lists]"

    def parts(self) -> Iterator[tuple[int, int, str]]:
        """Yield each element."""
        for i in range(self.width // 16):
            yield self.offset + 16 * i, 8, f"{self.name}[{i}].next"
            yield self.offset + 16 * i + 8, 8, f"{self.name}[{i}].prev"


_OWN = {"address", "memory"}
_TAKEN = _OWN | {"fields", "labels", "pahole", "sizeof", "struct", "used"}


class Struct:
    """A view of one struct in RAM: it holds an address and nothing else, and reads RAM each time it is asked.

    Parameters: ``memory``, a Machine (anything with read and write); ``address``, where the struct starts.
    Class keywords: ``size``, bytes of the whole struct if more than its fields need; ``name``, the kernel's name.
    """

    fields: ClassVar[tuple[Field, ...]] = ()
    sizeof: ClassVar[int] = 0
    used: ClassVar[int] = 0
    struct: ClassVar[str] = ""

    def __init__(self, memory: Memory, address: int) -> None:
        self.memory, self.address = memory, address

    def __init_subclass__(cls, size: int = 0, name: str = "") -> None:
        cls.struct = name or cls.__name__
        offset = cls.used
        own = [f for f in vars(cls).values() if isinstance(f, Field)]
        for field in own:
            if field.name in _TAKEN:
                raise ValueError(
                    f"a field cannot be named {field.name!r}: every struct has {', '.join(sorted(_TAKEN))} already; name it otherwise"
                )
        for field in own:
            field.offset = offset = -(-offset // field.align) * field.align
            offset += field.width
        cls.fields = (*cls.fields, *own)
        cls.used = offset
        cls.sizeof = max(size, -(-offset // 8) * 8)

    @classmethod
    def labels(cls) -> dict[int, str]:
        """Return {byte offset: field name} for each part that starts at a 64-bit word, for hexdumps."""
        out: dict[int, str] = {}
        for field in cls.fields:
            for offset, _, label in field.parts():
                word = offset & ~7
                out[word] = f"{out[word]}, {label}" if word in out else label
        return out

    @classmethod
    def pahole(cls) -> str:
        """Return the struct as C, with the offset and size in bytes of each field and the holes between (as pahole prints)."""
        rows, at = [f"struct {cls.struct} {{"], 0
        for field in cls.fields:
            if field.offset > at:
                rows.append(f"\t/* {field.offset - at} bytes hole */")
            star = " " if not field.ctype.endswith("*") else ""
            rows.append(f"\t{f'{field.ctype}{star}{field.name}{field.suffix};':<32} /* {field.offset:5} {field.width:5} */")
            at = field.offset + field.width
        rows.append(f"\n\t/* size: {cls.sizeof}, members: {len(cls.fields)}, padding: {cls.sizeof - at} */\n}};")
        return "\n".join(rows)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _OWN and name not in (f.name for f in self.fields):
            raise AttributeError(f"struct {self.struct} has no field {name!r}; it has {', '.join(f.name for f in self.fields)}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        body = ", ".join(f"{f.name}={f.show(getattr(self, f.name))}" for f in self.fields if not f.name.startswith("_"))
        # 77 characters: what a notebook in a window of 800 pixels shows in one line.
        return fill(f"struct {self.struct} @ {self.address:#x}: {body}", 77, subsequent_indent="    ", break_long_words=False)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (other.address, other.memory) == (self.address, self.memory)

    def __hash__(self) -> int:
        return hash((type(self), self.address))
