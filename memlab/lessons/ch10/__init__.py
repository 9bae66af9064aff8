"""Chapter 10, Does it work?.  Loaded by the registry of memlab.lessons."""

TITLE = "Does it work?"
NOTEBOOK = "10_does_it_work.ipynb"
MINUTES = 40
