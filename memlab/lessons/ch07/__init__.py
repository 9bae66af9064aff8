"""Chapter 07, Who describes the describer?.  Loaded by the registry of memlab.lessons."""

TITLE = "Who describes the describer?"
NOTEBOOK = "07_bootstrap.ipynb"
MINUTES = 40
