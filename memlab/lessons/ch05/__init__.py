"""Chapter 05, Eleven descriptors.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter(
    number="05",
    title="Eleven descriptors",
    notebook="05_descriptors.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
