"""Labs: pictures of a machine that you work on with buttons or the keyboard, one for each idea.

``from memlab.labs import buddy_lab``, then ``buddy_lab()`` as the last line of a cell.  Used by notebooks.  Needs anywidget (the extra "lab");
imports the core and figures, and never lessons.  A new lab is one declaration like buddy.py's: no JavaScript and no widget code.
"""

from .action import Action, CellParam, ChoiceParam, Done, IntParam, Refused
from .buddy import BUDDY_LAB, buddy_lab, buddy_machine
from .lab import Lab, Look
from .session import Session, Setup
from .view import LabView

__all__ = [
    "BUDDY_LAB",
    "Action",
    "CellParam",
    "ChoiceParam",
    "Done",
    "IntParam",
    "Lab",
    "LabView",
    "Look",
    "Refused",
    "Session",
    "Setup",
    "buddy_lab",
    "buddy_machine",
]
