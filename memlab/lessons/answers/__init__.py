"""The reference answers, one file a chapter: plain functions, shown to learners who ask for the solution.  Imported by the registry alone."""
