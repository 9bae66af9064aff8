"""Chapter 00, Start here: the front door asks nothing that is counted.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter

CHAPTER = Chapter(number="00", title="Start here", notebook="00_start.ipynb", minutes=20)
