"""Chapter 03, One word.  Loaded by the registry of memlab.lessons."""

TITLE = "One word"
NOTEBOOK = "03_one_word.ipynb"
MINUTES = 40
