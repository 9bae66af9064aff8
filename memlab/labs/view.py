"""LabView: a lab on the screen.  The only custom widget of memlab: it serves every Lab and knows none.

Used by buddy_lab and its kin, and by open_lab.  Imports the core, figures and the rest of labs; needs anywidget.  The browser's half is view.js.

Messages from the browser are {action, params, sequence}.  Each is answered with what changed in the picture, the sentence to say, and the
sequence number, by which a browser knows that the answer is its own.  Nothing that a message says is trusted.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from html import escape
from itertools import compress, filterfalse
from operator import is_not
from pathlib import Path
from reprlib import repr as short
from types import MappingProxyType
from typing import Any, Final

import anywidget
import traitlets

from ..figures.picture import CSS, SCRIPT, Cell, Picture, count
from . import state
from .action import Action
from .lab import VIEW_ACTIONS, Lab, Look, Searching
from .refused import Refused
from .session import Session
from .thread import on_this_thread

_HERE = Path(__file__).parent
_LONG: Final = 32 << 10  # characters of an answer from which on it is sent compressed
_SLICE: Final = 0.15  # seconds that a search goes on before it asks the browser whether it may go on


def open_lab(code: str) -> LabView:
    """Open the lab of a state code, in the state that the code tells of.  ValueError with one sentence for any text that is no good code."""
    try:
        told = state.decode(code)
        setup = told.lab.setup(**told.setup)
        session = Session.of(setup.machine, setup)
        state.replay(session, told)
    except Exception as error:  # noqa: BLE001  # whatever a code makes actions raise, the learner gets a sentence
        raise ValueError(str(error) if isinstance(error, Refused) else f"This state code cannot be done: {error}.") from None
    return LabView(told.lab, session)


class LabView(anywidget.AnyWidget):
    """One view of a lab.  ``session``: what it shares with other views of the machine.  ``machine``: the machine itself.

    With MEMLAB_STATIC=1 in the environment it shows the lab's demo steps, a picture and a sentence each, for slides and static pages.
    """

    _esm = SCRIPT + (_HERE / "view.js").read_text(encoding="utf-8")
    _css = CSS + (_HERE / "view.css").read_text(encoding="utf-8")
    title = traitlets.Unicode().tag(sync=True)
    actions: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    search: traitlets.Dict[str, Any] = traitlets.Dict(allow_none=True).tag(sync=True)

    def __init__(self, lab: Lab, session: Session, yours: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self.lab, self.session, self.machine = lab, session, session.machine
        mine = MappingProxyType(_checked_yours(lab, yours or {}))
        self.look = Look(session.setup.arena, recording=session.recording(), yours=mine, began=session.began)
        self._with_code = self._with_state_code = False
        self._acting = False
        self._searching: Searching | None = None
        self._forget()
        super().__init__(
            title=lab.title,
            actions=[{"name": a.name, "label": a.label, "params": p} for a, p in self._controls()],
            search=None if lab.search is None else {"label": lab.search.label, "params": self._search_controls()},
        )
        session.subscribe(self._changed)
        self.on_msg(on_this_thread(self._receive))

    def picture(self) -> Picture:
        """Return the picture as this view shows it now."""
        with self._as_shown():
            return self.lab.figure(self.machine, self.look)

    @property
    def state_code(self) -> str:
        """The machine's set-up and the steps done so far as one line of text, for open_lab; Refused with the reason if that cannot be."""
        return state.state_code(self.session)

    def static_html(self) -> str:
        """Return the demo steps on a machine of their own as HTML: before them and after each, a picture and a sentence."""
        session = Session(self.lab.preset())
        look = Look(session.setup.arena, began=session.began)
        frames = [("The machine at the start.", self.lab.figure(session.machine, look))]
        for name, params, *marks in self.lab.demo:
            done = session.run(self.lab.action(name), **params)
            recording = session.recording()
            look = look._replace(cell=done.cell or look.cell, recording=recording, asked={**look.asked, **params})
            if recording is not None and marks:
                for k in marks[0]:
                    with recording.at(k):
                        frames.append((recording.marks[k], self.lab.figure(session.machine, look._replace(frame=k))))
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
            answer = self._do(action, params)
        except Refused as refused:
            answer = {"status": str(refused), "refused": True}
        except Exception as error:  # noqa: BLE001  # whatever an action raises, the learner gets a sentence and RAM as it was
            answer = {
                "alert": f"That failed ({type(error).__name__}: {error}). RAM is as it was before; Undo takes back the step before it."
            }
        finally:
            self._acting = False
        if "progress" in answer and answer["searching"]:
            self.send({"sequence": sequence, **answer})  # nothing else is new, many times a second
        else:
            self._answer(sequence=sequence, **answer)

    def _do(self, name: str, params: dict[str, object]) -> dict[str, object]:
        """Do what a message asks; returns what to answer: the sentence to say, "" for none, and perhaps more.  Refused with a sentence."""
        if name not in VIEW_ACTIONS:
            return {"status": self._run(name, params)}
        if name == "search":
            return self._begin_search(params)
        wanted = VIEW_ACTIONS[name]
        if params.keys() != {wanted} - {""}:
            raise Refused(f"{name} takes {wanted or 'no parameters'}, not {short(sorted(map(str, params)))}.")
        if wanted == "on" and not isinstance(params["on"], bool):
            raise Refused(f"{name} is on or off, True or False, not {short(params['on'])}.")
        done = getattr(self, f"_{name}")(*params.values())
        return done if isinstance(done, dict) else {"status": done or ""}

    def _show(self) -> dict[str, object]:
        self._forget()
        return {"status": "", **({"searching": True} if self._searching else {})}

    def _hexadecimal(self, on: bool) -> None:
        self.look = self.look._replace(hexadecimal=on)

    def _code(self, on: bool) -> None:
        self._with_code = on

    def _state_code(self, on: bool) -> None:
        self._with_state_code = on

    def _save_picture(self) -> dict[str, object]:
        return {"file": self.picture().svg(), "name": f"{self.lab.name}_lab.svg", "status": "The picture is saved as an SVG file."}

    def _undo(self) -> str:
        return self.session.undo()

    def _redo(self) -> str:
        return self.session.redo()

    def _reset(self) -> str:
        return self.session.reset()

    def _go(self, position: object) -> str:
        words = self.session.go(position)
        self.look = self.look._replace(frame=None)
        return words

    def _run(self, name: str, params: dict[str, object]) -> str:
        action = next((a for a in self.lab.actions if a.name == name and not a.hidden), None)
        if action is None:
            raise Refused(f"This lab has no action {short(name)}; it has {', '.join(a.name for a in self.lab.actions if not a.hidden)}.")
        if "cell" in params:
            raise Refused("The selected cell is chosen in the picture; a message cannot name another.")
        if any(p.name == "cell" for p in action.params):
            params = {**params, "cell": self.look.cell}
        said = self.lab.says(self.machine, self.look, name, params) if self.look.yours else ""
        done = self.session.run(action, **params)
        self.look = self.look._replace(
            cell=self.look.cell if done.cell is None else done.cell, frame=None, asked={**self.look.asked, **params}
        )
        if not said and done.cell is not None and self.look.yours:
            said = self.lab.says(self.machine, self.look, "select", {})
        return f"{done.sentence} {said}".strip()

    # -- a search: the browser asks for each slice, so that whatever else it says, Stop too, is heard between two

    def _begin_search(self, params: dict[str, object]) -> dict[str, object]:
        search = self.lab.search
        if search is None:
            raise Refused("This lab has nothing to search for.")
        if self._searching is not None:
            raise Refused("A search is going on; Stop ends it.")
        unknown = params.keys() - {p.name for p in search.params}
        if unknown:
            raise Refused(f"{search.label} has no parameter {short(min(unknown))}.")
        values = {p.name: p.check(self.session, params.get(p.name)) for p in search.params}
        self._searching = search.begin(self.session, **values)
        return {"status": "Searching; Stop ends it and shows what was found.", "searching": True}

    def _search_on(self) -> dict[str, object]:
        if self._searching is None:
            return {"searching": False}
        end, words = time.monotonic() + _SLICE, ""
        try:
            while time.monotonic() < end:
                words = next(self._searching)
        except StopIteration:
            return self._end_search("Done. ")
        except KeyboardInterrupt:
            return self._end_search("Interrupted. ")
        except BaseException:
            self._searching = None
            raise
        return {"progress": words, "searching": True}

    def _stop(self) -> dict[str, object]:
        return self._end_search("Stopped. ")

    def _end_search(self, how: str) -> dict[str, object]:
        """Do the action that shows what was found."""
        searching, self._searching = self._searching, None
        if searching is None:
            raise Refused("No search is going on.")
        found = searching.found()
        if found is None:
            return {"status": f"{how}Nothing was found yet.", "progress": "", "searching": False}
        sentence, name, params = found
        done = self.session.run(self.lab.action(name), **params)
        self.look = self.look._replace(cell=done.cell, frame=None)
        return {"status": f"{how}{sentence} {done.sentence}", "progress": "", "searching": False}

    def _search_controls(self) -> list[dict[str, Any]]:
        return [c for p in self.lab.search.params if (c := p.control(self.session))] if self.lab.search else []

    def _select(self, cell: object) -> str:
        cells = self._cells or {c.id: c for c in self.picture().cells}  # {}: nothing was sent yet
        found = cells.get(cell) if isinstance(cell, str) else None
        if found is None:
            raise Refused(f"The picture has no cell {short(cell)}.")
        self.look = self.look._replace(cell=found.id)
        said = self.lab.says(self.machine, self.look, "select", {}) if self.look.yours else ""
        return f"Selected {found.label}. {said}".strip()

    def _frame(self, frame: object) -> None:
        recording = self.session.recording()
        if recording is None:
            raise Refused("The last step was not recorded, so there is nothing inside it to look at.")
        if frame is not None and (not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < len(recording)):
            raise Refused(f"Inside this step are moments 0 to {len(recording) - 1}, not {short(frame)}.")
        before, self.look = self.look, self.look._replace(frame=frame, recording=recording)
        try:
            with self._as_shown():
                pass
        except ValueError as error:
            self.look = before
            raise Refused(f"{error}.") from None

    def _open(self, code: object) -> str:
        told, mine = state.decode(code), self.session.setup
        if (told.lab.name, told.setup) != (mine.lab, mine.params):
            raise Refused(
                f'This state code begins with another machine than this lab\'s; in a cell of its own, open_lab("{code}") opens it.'
            )
        state.replay(self.session, told)
        self.look = self.look._replace(frame=None)
        return f"Opened the state code: {count(len(self.session.steps), 'step')} from the start, which Undo takes back one by one."

    def _changed(self) -> None:
        """Follow a change that another view, or code, made: the picture changes, and nothing is said."""
        if not self._acting:
            self._answer(sequence=None)

    # -- answers

    def _forget(self) -> None:
        """Forget what was sent: the next answer says everything."""
        self._fragments: dict[str, str] = {}
        self._cells: dict[str, Cell] = {}
        self._said: dict[str, Any] = {}

    def _as_shown(self) -> Any:
        """Return a with block in which RAM is as the view shows it."""
        look = self.look
        return look.recording.at(look.frame) if look.recording is not None and look.frame is not None else nullcontext()

    def _answer(self, **answer: object) -> None:
        recording = self.session.recording()
        if recording is not self.look.recording:
            self.look = self.look._replace(recording=recording, frame=None)
        try:
            answer |= self._news()
        except Exception as error:  # noqa: BLE001  # a damaged machine may have no picture; the lab must still say so and take Undo
            answer["alert"] = f"The picture cannot be drawn ({type(error).__name__}: {error}). Undo takes back the last step."
        if _length(answer) < _LONG:
            self.send(answer)
        else:
            self.send({}, [gzip.compress(json.dumps(answer).encode(), 1)])

    def _news(self) -> dict[str, Any]:
        """Return what a browser does not know yet: fragments and cells by id, and of all the rest what is not as it was said last."""
        s = self.session
        with self._as_shown():
            picture = self.lab.figure(self.machine, self.look)
            details = self.lab.details(self.machine, self.look)
        fragments, had = picture.fragments, self._cells
        have = {c.id: c for c in picture.cells}
        news = {
            "fragments": {k: v for k, v in fragments.items() if self._fragments.get(k) != v},
            "cells": {c.id: c[1:] for c in _others(have, had) if had.get(c.id) != c},
            "gone": [k for k in self._fragments if k not in fragments],
            "gone_cells": list(filterfalse(have.__contains__, had)),
        }
        rest = {
            "panels": [[p.width, p.height, list(p.fragments)] for p in picture.parts],
            "label": picture.label,
            "legend": [list(key) for key in picture.legend],
            "selected": self.look.cell,
            "details": [list(pair) for pair in details],
            "hexadecimal": self.look.hexadecimal,
            "disabled": self._reasons(),
            "controls": {a.name: params for a, params in self._controls()},
            "history": [s.position, len(s.steps)],
            "inside": self._inside(),
            "code": s.code() if self._with_code else None,
            "state_code": self._state_code_or_reason() if self._with_state_code else None,
        }
        news |= {k: v for k, v in rest.items() if k not in self._said or self._said[k] != v}
        self._fragments, self._cells, self._said = dict(fragments), have, rest
        return news

    def _inside(self) -> list[Any] | None:
        """Return what the slider inside a step shows: the moment, how many there are, and words; None for a step that was not recorded."""
        recording, k = self.look.recording, self.look.frame
        if recording is None or not len(recording):
            return None
        return [k, len(recording), recording.marks[k] if k is not None else "The end of the step."]

    def _controls(self) -> list[tuple[Action, list[dict[str, Any]]]]:
        return [(a, [c for p in a.params if (c := p.control(self.session))]) for a in self.lab.actions if not a.hidden]

    def _reasons(self) -> dict[str, str]:
        """Return {name: why it cannot be done now} of all actions for which that is so."""
        s = self.session
        reasons = {a.name: a.reason(s, self.look.cell) for a in self.lab.actions if not a.hidden}
        reasons["undo"] = reasons["reset"] = None if s.position else "There is nothing to undo."
        reasons["redo"] = None if s.position < len(s.steps) else "There is nothing to redo."
        if self.lab.search is not None:
            going_on = self._searching is not None
            reasons["search"] = "A search is going on; Stop ends it." if going_on else None
            reasons["stop"] = None if going_on else "No search is going on."
        return {name: reason for name, reason in reasons.items() if reason}

    def _state_code_or_reason(self) -> list[str]:
        """Return the state code and "", or "" and the reason why there is none."""
        try:
            return [state.state_code(self.session), ""]
        except Refused as refused:
            return ["", str(refused)]


def _others(have: Mapping[str, Cell], had: Mapping[str, Cell]) -> Iterator[Cell]:
    """Return the cells that are not the very objects that were there before; of thousands, after a click, few."""
    return compress(have.values(), map(is_not, have.values(), map(had.get, have)))


def _length(answer: Mapping[str, Any]) -> int:
    """Return about how many characters an answer has, without writing it all out: of all that can be long."""
    texts = *answer.get("fragments", {}).values(), answer.get("file"), answer.get("code")
    return sum(len(text) for text in texts if text) + 80 * len(answer.get("cells", ()))


def _checked_yours(lab: Lab, yours: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return the learner's functions; TypeError or ValueError if the lab does not take them."""
    for name, function in yours.items():
        if name not in lab.yours:
            raise ValueError(f"the {lab.title} takes {', '.join(lab.yours) or 'no functions'} of yours, not {short(name)}")
        if not callable(function):
            raise TypeError(f"{name} is a function of yours, not {short(function)}")
    return dict(yours)


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
