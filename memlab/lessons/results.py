r"""What a learner has done, in progress.jsonl in the user's data folder: one line for each result, only ever appended to.

    {"v": 1, "at": "2025-01-31T12:00:00Z", "kind": "exercise", "id": "02.1", "ok": true}        a drill's line has its "seed" as well

Merged when read: a best result stays.  Lines that cannot be read are left in place, and counted.  Used by the sheets and the command line.
Standard library only; imports nothing of memlab.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

VERSION: Final = 1
KINDS: Final = ("exercise", "prediction", "drill")
MOST_BYTES: Final = 4 << 20  # of a file that is read or brought in
_ID = re.compile(r"\d\d\.[a-z0-9_]{1,40}", re.ASCII)
_told = False  # that results cannot be written: said once


@dataclass
class Progress:
    """The merged results: {id: was it ever right} for exercises and predictions, {id: seeds answered right} for drills.

    ``unread``: lines that could not be read, or that a newer memlab wrote.
    """

    exercises: dict[str, bool] = field(default_factory=dict)
    predictions: dict[str, bool] = field(default_factory=dict)
    drills: dict[str, set[int]] = field(default_factory=dict)
    unread: int = 0

    def add(self, entry: dict[str, Any]) -> bool:
        """Merge one result; says whether that changed anything."""
        name, ok = entry["id"], entry["ok"]
        if entry["kind"] == "drill":
            seeds = self.drills.setdefault(name, set())
            news = ok and entry["seed"] not in seeds
            if news:
                seeds.add(entry["seed"])
            return news
        results = self.exercises if entry["kind"] == "exercise" else self.predictions
        news = name not in results or (ok and not results[name])
        if news:
            results[name] = ok
        return news


def folder() -> Path:
    """Return the folder for the user's data: $MEMLAB_HOME, or where this system keeps such things."""
    if home := os.environ.get("MEMLAB_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "memlab"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "memlab"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "memlab"


def record(kind: str, name: str, ok: bool, seed: int = 0) -> str:
    """Write a result down, if it is better than what is there.  Returns "", or one sentence the first time that this cannot be done."""
    global _told  # once in a kernel's life
    entry: dict[str, Any] = {"v": VERSION, "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "kind": kind, "id": name, "ok": ok}
    if kind == "drill":
        entry["seed"] = seed
    try:
        if read().add(entry):
            _append([entry])
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        said, _told = _told, True
        return "" if said else f"(Your progress cannot be written down: {getattr(error, 'strerror', None) or error}. Go on all the same.)"
    return ""


def read() -> Progress:
    """Return what has been done so far; OSError if the file is there and cannot be read."""
    try:
        data = _file().read_bytes()[:MOST_BYTES]
    except FileNotFoundError:
        return Progress()
    return _merge(data.decode("utf-8", "replace"), Progress())[0]


def export() -> str:
    """Return the results as text that bring_in takes, the best ones only; OSError if they cannot be read."""
    try:
        data = _file().read_bytes()[:MOST_BYTES]
    except FileNotFoundError:
        return ""
    return _lines(_merge(data.decode("utf-8", "replace"), Progress())[1])


def bring_in(exported: str) -> tuple[int, int]:
    """Merge what export returned, here or elsewhere.  Returns how many results were new, and how many lines could not be read.

    ValueError with one sentence if there is not a result in it; OSError if it cannot be written.
    """
    known = read()
    before = known.unread
    if len(exported.encode("utf-8", "replace")) > MOST_BYTES:
        raise ValueError(f"This is no file of progress: it has more than {MOST_BYTES:,} bytes.")
    merged, news = _merge(exported, known)
    unread = merged.unread - before
    if not any(_entry(line) for line in exported.split("\n")):
        raise ValueError("This is no file of progress: not one line of it is a result.")
    if news:
        _append(news)
    return len(news), unread


def _merge(lines: str, into: Progress) -> tuple[Progress, list[dict[str, Any]]]:
    """Return the merged results, and the entries that brought something new."""
    news = []
    for line in lines.split("\n"):
        entry = _entry(line)
        if entry is None:
            into.unread += bool(line.strip())
        elif into.add(entry):
            news.append(entry)
    return into, news


def _entry(line: str) -> dict[str, Any] | None:
    """Return a line taken apart, or None if it is not one that this version writes."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or type(entry.get("v")) is not int or entry["v"] != VERSION or entry.get("kind") not in KINDS:
        return None
    kind, name, seed = entry["kind"], entry.get("id"), entry.get("seed")
    if not isinstance(name, str) or not _ID.fullmatch(name) or not isinstance(entry.get("ok"), bool):
        return None
    wanted = {"v", "at", "kind", "id", "ok"} | ({"seed"} if kind == "drill" else set())
    if entry.keys() != wanted or not isinstance(entry["at"], str) or len(entry["at"]) > 40:
        return None
    return None if kind == "drill" and (type(seed) is not int or not 0 <= seed < 2**53) else entry


def _append(entries: list[dict[str, Any]]) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        torn = file.seek(0, os.SEEK_END) > 0 and not (file.seek(-1, os.SEEK_END), file.read(1))[1].endswith(b"\n")
        file.write((b"\n" if torn else b"") + _lines(entries).encode())


def _lines(entries: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def _file() -> Path:
    return folder() / "progress.jsonl"
