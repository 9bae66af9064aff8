"""Chapter 01, Memory by the page.  Loaded by the registry of memlab.lessons."""

TITLE = "Memory by the page"
NOTEBOOK = "01_memory.ipynb"
MINUTES = 30
