"""A results file rendered as one self-contained page and as Markdown."""
