"""Chapter 09, The worst case.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter(
    number="09",
    title="The worst case",
    notebook="09_worst_case.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
