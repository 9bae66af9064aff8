"""Explore: breadth-first search over all sequences of operations on a tiny machine, with an interrupt possible at every trace point.

``Search(design="bounded", interrupts=1).run(states=100_000)``, or ``python -m memlab.study.explore``.  Used by FINDINGS.md, the tests, the bug zoo, the
Nesting lab and chapter 10.  Standard library only; imports the core and consumers.

    search.py     the search                         choices.py    what it may do in a state, and what interrupts do meanwhile
    report.py     what it found                      steps.py      sequences of that, which can be run again
    survey.py     whether a state is in order,       gauge.py      depths, and the events at which an interrupt would matter
                  and its canonical form             expand.py     all that can be done in a state, in one process or several
    __main__.py   the command line
"""

from .choices import DEFAULT, EVERYTHING, HANDLERS, OPERATIONS
from .report import Broken, Deepest, Report
from .search import Search
from .steps import TINY, History, Setup, Step, tight
from .survey import Survey

__all__ = [
    "DEFAULT",
    "EVERYTHING",
    "HANDLERS",
    "OPERATIONS",
    "TINY",
    "Broken",
    "Deepest",
    "History",
    "Report",
    "Search",
    "Setup",
    "Step",
    "Survey",
    "tight",
]
