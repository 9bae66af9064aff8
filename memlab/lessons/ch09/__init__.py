"""Chapter 09, The worst case.  Loaded by the registry of memlab.lessons."""

TITLE = "The worst case"
NOTEBOOK = "09_worst_case.ipynb"
MINUTES = 40
