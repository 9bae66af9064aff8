"""State codes: a lab's set-up and steps as one line of text, and such a line done again, step by step.

Used by LabView, for its State code and Open buttons, and through open_lab.  Nothing in a code is run: it names actions of the labs, which
check their parameters as they do those of a message.  Imports lab and session; never widgets.

    memlab1.buddy.pb2hk5dj...   .1f0c22a9   5d0e66f0b7c3aa12
    format, lab   base32(zlib(JSON))  CRC-32 of all before, then the first half of a SHA-256 of the final RAM, both in hexadecimal
    JSON: {"setup": {parameter: value}, "steps": [[action, {parameter: value}] or [lab, action, {...}], ...]}
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from typing import Any, Final, NamedTuple

from ..ram import Snapshot
from .action import Action
from .lab import LABS, Lab
from .refused import Refused
from .session import Session, Step

MOST_CHARACTERS: Final = 2048
MOST_INFLATED: Final = 64 << 10  # bytes of JSON
MOST_STEPS: Final = 500

_FORMAT: Final = "memlab1"
_CODE: Final = re.compile(r"(memlab1)\.([a-z]+)\.([a-z2-7]+)\.([0-9a-f]{8})([0-9a-f]{16})")
_SAVE: Final = 'Use Save instead: m.save("my-machine") keeps the machine m in a file, and Machine.load("my-machine") reads it.'
_NO_SAVE: Final = "Show code gives the steps as Python."  # a machine of the study layer has no files


class State(NamedTuple):
    """What a state code says: the lab, the parameters of its set-up, the steps, and the hash that RAM then has."""

    lab: Lab
    setup: dict[str, Any]
    steps: list[tuple[Action, dict[str, Any]]]
    ram: str


def state_code(session: Session) -> str:
    """Return a session's set-up and steps so far as one line of text; Refused with the reason if there can be none."""
    try:
        return _code(session)
    except Refused as refused:
        instead = _SAVE if hasattr(session.machine, "save") else _NO_SAVE
        raise Refused(f"{refused} {instead}") from None


def decode(code: object) -> State:
    """Return what a state code says; Refused with a sentence for any text that is none."""
    if not isinstance(code, str):
        raise Refused("A state code is text that begins with memlab1, as the State code button of a lab shows it.")
    if len(code) > 2 * MOST_CHARACTERS:
        raise Refused(f"A state code has at most {MOST_CHARACTERS:,} characters; this text has {len(code):,}.")
    code = "".join(code.split())  # a mail program may have broken the line
    found = _CODE.fullmatch(code)
    if not found or len(code) > MOST_CHARACTERS:
        raise Refused(
            "This is no state code: one is memlab1, the lab, and two blocks of letters and digits, with dots between; copy the whole line."
        )
    head, _, _ = code.rpartition(".")
    _, name, packed, crc, ram = found.groups()
    if crc != _crc(head):
        raise Refused("This state code is damaged or incomplete: its checksum does not fit; copy the whole line again.")
    if name not in LABS:
        raise Refused(f"There is no lab {name!r} here; the labs are {', '.join(LABS)}.")
    setup, steps = _told(packed)
    return State(LABS[name], setup, [_step(step, name) for step in steps], ram)


def replay(session: Session, told: State) -> None:
    """Do all steps of a state code from the session's start on; Refused, with RAM and history as before, if they lead elsewhere.

    The session's set-up must be the code's.
    """

    def steps_and_hash() -> Any:
        yield from told.steps
        if ram_hash(session.machine.snapshot()) != told.ram:
            raise Refused("The steps of this state code lead to other RAM here: it was made by another version of memlab.")

    session.repeat(steps_and_hash())


def ram_hash(snapshot: Snapshot) -> str:
    """Return 16 hexadecimal digits that tell a machine's RAM from any other; what a Snapshot does not compare does not count."""
    kernel, mem_map, used = snapshot.key()
    found = hashlib.sha256(kernel + mem_map)
    for pfn in sorted(used):
        found.update(pfn.to_bytes(8, "little") + used[pfn])
    return found.hexdigest()[:16]


# -- the work behind it


def _code(session: Session) -> str:
    setup, steps = session.setup, session.steps[: session.position]
    if setup.params is None or setup.lab not in LABS:
        raise Refused("A state code needs a machine that a lab has set up, and this one is your own.")
    if len(steps) > MOST_STEPS:
        raise Refused(f"A state code holds at most {MOST_STEPS} steps, and there are {len(steps)}.")
    told = {"setup": setup.params, "steps": [_named(step, setup.lab) for step in steps]}
    packed = zlib.compress(json.dumps(told, separators=(",", ":")).encode(), 9)
    head = f"{_FORMAT}.{setup.lab}.{base64.b32encode(packed).decode().rstrip('=').lower()}"
    code = f"{head}.{_crc(head)}{ram_hash(session.machine.snapshot())}"
    if len(code) > MOST_CHARACTERS:
        raise Refused(f"A state code has at most {MOST_CHARACTERS:,} characters, and these {len(steps)} steps need {len(code):,}.")
    return code


def _named(step: Step, lab: str) -> list[Any]:
    """Return a step as JSON: an action of the set-up's lab by its name alone."""
    if step.action is None:
        raise Refused("A state code repeats the buttons of labs, and RAM was changed by code in a notebook cell.")
    for name in (lab, *LABS):
        if any(step.action is action for action in LABS[name].actions):
            return [step.action.name, dict(step.params)] if name == lab else [name, step.action.name, dict(step.params)]
    raise Refused(f"A state code repeats the buttons of memlab's labs, and {step.action.label} is of none of them.")


def _told(packed: str) -> tuple[dict[str, Any], list[Any]]:
    """Return set-up and steps from the middle block of a code."""
    try:
        data = base64.b32decode(packed.upper() + "=" * (-len(packed) % 8))
        inflater = zlib.decompressobj()
        text = inflater.decompress(data, MOST_INFLATED)
        whole = inflater.eof and not inflater.unused_data
        told = json.loads(text) if whole else None
    except (ValueError, zlib.error, RecursionError):  # binascii.Error, JSON and Unicode errors are ValueErrors
        told = None
    if not isinstance(told, dict) or told.keys() != {"setup", "steps"}:
        raise Refused("This state code cannot be read: it holds no set-up and steps, or more than it may.")
    setup, steps = told["setup"], told["steps"]
    if not isinstance(setup, dict) or not isinstance(steps, list):
        raise Refused("This state code cannot be read: its set-up is no table, or its steps are no list.")
    if len(steps) > MOST_STEPS:
        raise Refused(f"A state code holds at most {MOST_STEPS} steps; this one has {len(steps):,}.")
    return setup, steps


def _step(told: object, lab: str) -> tuple[Action, dict[str, Any]]:
    """Return action and parameters of one step."""
    match told:
        case [str(name), dict(params)]:
            pass
        case [str(lab), str(name), dict(params)]:
            pass
        case _:
            raise Refused("This state code cannot be read: a step is an action's name and its parameters.")
    action = next((a for a in LABS[lab].actions if a.name == name), None) if lab in LABS else None
    if action is None:
        raise Refused(f"This state code cannot be done: there is no action {name[:40]!r} in a lab {lab[:40]!r}.")
    return action, params


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
