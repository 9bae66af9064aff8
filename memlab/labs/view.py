"""LabView: a lab on the screen.  The only custom widget of memlab: it serves every Lab and knows none.

Used by buddy_lab and its kin.  Imports the core, figures and the rest of labs; needs anywidget.  The browser's half is view.js.

Messages from the browser are {action, params, sequence}.  Each is answered with what changed in the picture, the sentence to say, and the
sequence number, by which a browser knows that the answer is its own.  Nothing that a message says is trusted.
"""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from reprlib import repr as short
from typing import Any

import anywidget
import traitlets

from ..figures import Picture
from ..figures.picture import CSS
from .action import Refused
from .lab import VIEW_ACTIONS, Lab, Look
from .session import Session

_HERE = Path(__file__).parent


class LabView(anywidget.AnyWidget):
    """One view of a lab.  ``session``: what it shares with other views of the machine.  ``machine``: the machine itself.

    With MEMLAB_STATIC=1 in the environment it shows the lab's demo steps, a picture and a sentence each, for slides and static pages.
    """

    _esm = (_HERE / "view.js").read_text(encoding="utf-8")
    _css = CSS + (_HERE / "view.css").read_text(encoding="utf-8")
    title = traitlets.Unicode().tag(sync=True)
    actions: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)

    def __init__(self, lab: Lab, session: Session) -> None:
        self.lab, self.session, self.machine = lab, session, session.machine
        self.look = Look(session.setup.arena)
        self._with_code = False
        self._acting = False
        self._sent: dict[str, Any] = {"fragments": {}, "cells": {}}
        controls = [{"name": a.name, "label": a.label, "params": [c for p in a.params if (c := p.control(session))]} for a in lab.actions]
        super().__init__(title=lab.title, actions=controls)
        session.subscribe(self._changed)
        self.on_msg(lambda _widget, content, _buffers: self._receive(content))

    def picture(self) -> Picture:
        """Return the picture as this view shows it now."""
        return self.lab.figure(self.machine, self.look)

    def static_html(self) -> str:
        """Return the demo steps on a machine of their own as HTML: before them and after each, a picture and a sentence."""
        session = Session(self.lab.preset())
        look = Look(session.setup.arena)
        frames = [("The machine at the start.", self.lab.figure(session.machine, look))]
        for name, params in self.lab.demo:
            done = session.run(self.lab.action(name), **params)
            look = look._replace(cell=done.cell or look.cell)
            frames.append((done.sentence, self.lab.figure(session.machine, look)))
        parts = [f'<div class="fragment"><p>{escape(sentence)}</p>{picture.html()}</div>' for sentence, picture in frames]
        return f'<section class="memlab-static" aria-label="{escape(self.lab.title)}">{"".join(parts)}</section>'

    def close(self) -> None:
        """Take the view off the screen."""
        self.session.unsubscribe(self._changed)
        super().close()

    def __repr__(self) -> str:
        return f"<{self.lab.title}: pages {self.look.arena.start} to {self.look.arena.stop - 1}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if os.environ.get("MEMLAB_STATIC") == "1":
            return {"text/plain": repr(self), "text/html": self.static_html()}
        return super()._repr_mimebundle_(**kwargs)

    # -- messages

    def _receive(self, content: object) -> None:
        """Answer a message, whatever it is."""
        sequence: int | None = None
        answer: dict[str, object] = {}
        self._acting = True
        try:
            action, params, sequence = _parse(content)
            answer = {"status": self._do(action, params)}
        except Refused as refused:
            answer = {"status": str(refused), "refused": True}
        except Exception as error:  # noqa: BLE001  # whatever an action raises, the learner gets a sentence and RAM as it was
            answer = {
                "alert": f"That failed ({type(error).__name__}: {error}). RAM is as it was before; Undo takes back the step before it."
            }
        finally:
            self._acting = False
        self._answer(sequence=sequence, **answer)

    def _do(self, name: str, params: dict[str, object]) -> str:
        """Do what a message asks; returns the sentence to say, "" for none.  Refused with a sentence."""
        if name not in VIEW_ACTIONS:
            return self._run(name, params)
        wanted = {"select": {"cell"}, "hexadecimal": {"on"}, "code": {"on"}}.get(name, set())
        if params.keys() != wanted:
            raise Refused(f"{name} takes {' and '.join(wanted) or 'no parameters'}, not {short(sorted(map(str, params)))}.")
        if name == "select":
            return self._select(params["cell"])
        if "on" in params and not isinstance(params["on"], bool):
            raise Refused(f"{name} is on or off, True or False, not {short(params['on'])}.")
        if name == "show":
            self._sent = {"fragments": {}, "cells": {}}
        elif name == "hexadecimal":
            self.look = self.look._replace(hexadecimal=bool(params["on"]))
        elif name == "code":
            self._with_code = bool(params["on"])
        else:
            return str(getattr(self.session, name)())
        return ""

    def _run(self, name: str, params: dict[str, object]) -> str:
        try:
            action = self.lab.action(name)
        except KeyError:
            raise Refused(f"This lab has no action {short(name)}; it has {', '.join(a.name for a in self.lab.actions)}.") from None
        if "cell" in params:
            raise Refused("The selected cell is chosen in the picture; a message cannot name another.")
        if any(p.name == "cell" for p in action.params):
            params = {**params, "cell": self.look.cell}
        done = self.session.run(action, **params)
        if done.cell is not None:
            self.look = self.look._replace(cell=done.cell)
        return done.sentence

    def _select(self, cell: object) -> str:
        found = next((c for c in self.picture().cells if c.id == cell), None)
        if found is None:
            raise Refused(f"The picture has no cell {short(cell)}.")
        self.look = self.look._replace(cell=found.id)
        return f"Selected {found.label}."

    def _changed(self) -> None:
        """Follow a change that another view, or code, made: the picture changes, and nothing is said."""
        if not self._acting:
            self._answer(sequence=None)

    def _answer(self, **answer: object) -> None:
        try:
            answer |= self._news()
        except Exception as error:  # noqa: BLE001  # a damaged machine may have no picture; the lab must still say so and take Undo
            answer["alert"] = f"The picture cannot be drawn ({type(error).__name__}: {error}). Undo takes back the last step."
        self.send(answer)

    def _news(self) -> dict[str, Any]:
        """Return what a browser does not know yet: changed fragments and cells, and the small rest."""
        picture, sent = self.picture(), self._sent
        cells = {c.id: [c.label, c.row, c.column] for c in picture.cells}
        news = {
            "fragments": {k: v for k, v in picture.fragments.items() if sent["fragments"].get(k) != v},
            "cells": {k: v for k, v in cells.items() if sent["cells"].get(k) != v},
            "gone": [k for k in sent["fragments"] if k not in picture.fragments],
            "gone_cells": [k for k in sent["cells"] if k not in cells],
            "order": list(picture.fragments) if list(picture.fragments) != list(sent["fragments"]) else None,
            "size": [picture.width, picture.height],
            "label": picture.label,
            "legend": [list(key) for key in picture.legend],
            "selected": self.look.cell,
            "details": self.lab.details(self.machine, self.look),
            "hexadecimal": self.look.hexadecimal,
            "disabled": self._reasons(),
            "code": self.session.code() if self._with_code else None,
        }
        self._sent = {"fragments": dict(picture.fragments), "cells": cells}
        return news

    def _reasons(self) -> dict[str, str]:
        """Return {name: why it cannot be done now} of all actions for which that is so."""
        s = self.session
        reasons = {a.name: a.reason(s, self.look.cell) for a in self.lab.actions}
        reasons["undo"] = reasons["reset"] = None if s.position else "There is nothing to undo."
        reasons["redo"] = None if s.position < len(s.steps) else "There is nothing to redo."
        return {name: reason for name, reason in reasons.items() if reason}


def _parse(content: object) -> tuple[str, dict[str, object], int]:
    """Return (action, params, sequence) of a message; Refused if it is none."""
    if not isinstance(content, dict) or content.keys() != {"action", "params", "sequence"}:
        raise Refused("A message to a lab has an action, params and a sequence number, and nothing else.")
    action, params, sequence = content["action"], content["params"], content["sequence"]
    if not isinstance(action, str) or not isinstance(params, dict) or not all(isinstance(name, str) for name in params):
        raise Refused("The action of a message is a name, and its params are values by name.")
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 0 <= sequence < 1 << 53:
        raise Refused(f"The sequence number of a message is a whole number from 0 on, not {short(sequence)}.")
    return action, params, sequence
