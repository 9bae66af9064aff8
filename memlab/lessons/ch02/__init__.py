"""Chapter 02, Buddies.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter(
    number="02",
    title="Buddies",
    notebook="02_buddies.ipynb",
    minutes=35,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
