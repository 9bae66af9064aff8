"""Panel: the one widget of the lessons; it shows any sheet and knows none.

Used by cells.py.  Imports sheet, for colours figures, and for the thread of messages labs; needs anywidget.  The browser's half is panel.js.

All that is to be seen is in the trait ``content``, so a page that is opened again shows it at once.  A message from the browser is
{action, value}, and nothing that it says is trusted: see Sheet.receive.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from ipywidgets import widget_serialization

from ..figures.picture import CSS, SCRIPT
from ..labs.refused import Refused
from ..labs.thread import on_this_thread
from .sheet import Sheet

_HERE = Path(__file__).parent


class Panel(anywidget.AnyWidget):
    """A sheet on the screen.  With MEMLAB_STATIC=1 in the environment: as it stands on slides, where nothing can be pressed."""

    _esm = SCRIPT + (_HERE / "panel.js").read_text(encoding="utf-8")
    _css = CSS + (_HERE / "panel.css").read_text(encoding="utf-8")
    content: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    widget = traitlets.Any(None, allow_none=True).tag(sync=True, **widget_serialization)

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        super().__init__(content=sheet.content(), widget=sheet.widget)
        self.on_msg(on_this_thread(self._receive))

    def show(self) -> None:
        """Have the browser show what the sheet is now."""
        self.widget = self.sheet.widget
        self.content = self.sheet.content()

    def __repr__(self) -> str:
        return f"<{self.sheet.title}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if os.environ.get("MEMLAB_STATIC") == "1":
            html = self.sheet.static_html()
            return {"text/plain": repr(self)} | ({"text/html": html} if html else {})
        return super()._repr_mimebundle_(**kwargs)

    def _receive(self, message: object) -> None:
        """Do what a message asks, whatever it is."""
        self.sheet.download = None
        try:
            self.sheet.receive(message)
        except Refused as refused:
            self.sheet.say(str(refused))
        except Exception as error:  # noqa: BLE001  # a learner gets a sentence, whatever a sheet raises
            self.sheet.say(f"That failed ({type(error).__name__}: {error}).", "wrong")
        self.show()
        name, text = self.sheet.download or (None, None)
        self.send({"download": {"name": name, "text": text} if name else None})
