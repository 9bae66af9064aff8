"""Chapter 01, Memory by the page.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter(
    number="01",
    title="Memory by the page",
    notebook="01_memory.ipynb",
    minutes=30,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
