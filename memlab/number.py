"""Numbers at the door: what every public call takes for a whole number, and how a refusal shows what it got instead.

Used by all of the core that is handed a number.  Imports nothing of memlab.
"""

from __future__ import annotations

from contextlib import suppress
from operator import index
from reprlib import Repr
from typing import Any, Final

_short: Final = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100
shown: Final = _short.repr  # a value, short enough for a sentence, whatever it is


def whole(value: Any, must: str, error: type[Exception] = TypeError) -> int:
    """Return ``value`` as an int: an int, or whatever else operator.index takes, such as numpy's integers, but no bool.

    ``must``: what it must be, as a sentence goes on with ", not ...".  ``error``: what is raised if it is no such thing.
    """
    if type(value) is int:
        return value
    with suppress(TypeError):
        if not isinstance(value, bool):
            return int(index(value))
    raise error(f"{must}, not {shown(value)}")
