"""Labs: pictures of a machine that you work on with buttons or the keyboard, one for each idea.

``from memlab.labs import buddy_lab``, then ``buddy_lab()`` as the last line of a cell.  Used by notebooks.  Needs anywidget (the extra "lab");
imports the core and figures, and never lessons.  A new lab is one declaration like buddy.py's: no JavaScript and no widget code.
"""

from .action import Action, CellParam, ChoiceParam, Done, IntParam, TextParam
from .bootstrap import BOOTSTRAP_LAB, bootstrap_lab, bootstrap_machine
from .buddy import BUDDY_LAB, buddy_lab, buddy_machine
from .freelist import FREELIST_LAB, freelist_lab, freelist_machine
from .lab import LABS, Lab, Look
from .machine import MACHINE_LAB, machine_lab, zoned_machine
from .nesting import NESTING_LAB, nesting_lab, nesting_machine
from .refused import Refused
from .session import Session, Setup
from .slab import SLAB_LAB, slab_lab, slab_machine
from .view import LabView, open_lab
from .yours import Answer, ask

LABS |= {lab.name: lab for lab in (BUDDY_LAB, BOOTSTRAP_LAB, MACHINE_LAB, SLAB_LAB, FREELIST_LAB, NESTING_LAB)}

__all__ = [
    "BOOTSTRAP_LAB",
    "BUDDY_LAB",
    "FREELIST_LAB",
    "LABS",
    "MACHINE_LAB",
    "NESTING_LAB",
    "SLAB_LAB",
    "Action",
    "Answer",
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
    "TextParam",
    "ask",
    "bootstrap_lab",
    "bootstrap_machine",
    "buddy_lab",
    "buddy_machine",
    "freelist_lab",
    "freelist_machine",
    "machine_lab",
    "nesting_lab",
    "nesting_machine",
    "open_lab",
    "slab_lab",
    "slab_machine",
    "zoned_machine",
]
