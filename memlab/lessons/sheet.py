"""Sheet: what a panel shows and what its buttons do, without any widget.  Exercise, prediction, drill and progress are sheets.

Used by panel.py, which draws any sheet, and by the tests.  Of memlab it imports Refused; a sheet knows no browser.

A sheet's content is plain data, top down: title, blocks, buttons, status, and the blocks that buttons have brought.  Texts may hold `code`
in backticks and paragraphs with an empty line between them; nothing in them is taken as HTML.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from html import escape
from reprlib import repr as short
from typing import Any, NamedTuple

from ..labs.refused import Refused

Block = dict[str, Any]
_PARTS = re.compile(r"`([^`\n]+)`")


class Button(NamedTuple):
    """A button: its name and label, what ``press`` does, and ``takes``, the name of the value that the browser sends along ("" for none).

    ``off``: why it cannot be pressed now, or None.
    """

    name: str
    label: str
    press: Callable[..., None]
    takes: str = ""
    off: str | None = None


class Sheet(ABC):
    """One exercise, prediction, drill or overview.  ``status`` is the last sentence, ``tone`` how it is meant: "right", "wrong" or "".

    ``download``: a file for the browser to save, as (name, text), or None; ``widget``: one to show below, or None.
    """

    title: str
    note = ""
    status = ""
    tone = ""
    download: tuple[str, str] | None = None
    widget: object = None

    @abstractmethod
    def blocks(self) -> list[Block]:
        """Return what stands above the buttons."""

    @abstractmethod
    def buttons(self) -> list[Button]:
        """Return the buttons, the main one first."""

    def more(self) -> list[Block]:
        """Return what stands below the status."""
        return []

    def say(self, status: str, tone: str = "") -> None:
        """Set the sentence to show."""
        self.status, self.tone = status, tone

    def content(self) -> dict[str, Any]:
        """Return all of it for the browser."""
        return {
            "title": self.title,
            "note": self.note,
            "blocks": self.blocks(),
            "buttons": [{"name": b.name, "label": b.label, "takes": b.takes, "off": b.off} for b in self.buttons()],
            "status": self.status,
            "tone": self.tone,
            "more": self.more(),
        }

    def receive(self, message: object) -> None:
        """Do what a message from the browser asks; Refused, with nothing changed, if it is not in order."""
        if not isinstance(message, Mapping) or set(message) != {"action", "value"} or not isinstance(message["action"], str):
            raise Refused("A message to a panel has an action and a value, and nothing else.")
        button = next((b for b in self.buttons() if b.name == message["action"]), None)
        if button is None:
            raise Refused(f"This panel has no button {short(message['action'])}.")
        if button.off is not None:
            raise Refused(button.off)
        self.download = None
        if button.takes:
            button.press(message["value"])
        elif message["value"] is not None:
            raise Refused(f"The button {button.label} takes no value.")
        else:
            button.press()

    def static_html(self) -> str:
        """Return it as HTML for slides and static pages, where nothing can be pressed."""
        return f'<section class="memlab-static"><p><strong>{escape(self.title)}</strong></p>{"".join(map(html, self.blocks()))}</section>'


def text(words: str, key: str = "text", label: str = "") -> Block:
    """Return a block of text, with a small heading if it has a ``label``."""
    return {"key": key, "kind": "text", "label": label, "text": words}


def code(source: str, key: str, label: str) -> Block:
    """Return a block of code that can be copied."""
    return {"key": key, "kind": "code", "label": label, "text": source}


def html(block: Block) -> str:
    """Return a block as HTML."""
    if block["kind"] == "picture":
        return block["html"]
    if block["kind"] == "code":
        return f"<p>{escape(block['label'])}</p><pre>{escape(block['text'])}</pre>"
    if block["kind"] == "choices":
        return f"{_marked(block['label'])}<ul>{''.join(f'<li>{_inline(choice)}</li>' for choice in block['choices'])}</ul>"
    return _marked(block["text"] if "text" in block else block["label"])


def _marked(words: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in words.split("\n\n"))


def _inline(words: str) -> str:
    return _PARTS.sub(r"<code>\1</code>", escape(words, quote=False))
