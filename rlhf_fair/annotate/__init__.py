"""A page on which raters answer: personal links, consent first, one item at a time, every answer on disk at once.

A study is one SQLite file. `study` makes it from assignments and items, `server` serves it, `export` turns it into the
feedback table the rest of the package reads. Needs the extra ``annotate`` for serving; the rest does not.
"""
