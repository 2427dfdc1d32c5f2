"""Clause maps of laws and standards, and which evidence for a clause can be found in an audit's results.

Reading order of the code: `models` (a clause, a framework), `loading` (the TOML files in ``frameworks/``), `context`
(what only people can state), `evidence` and `kinds` (what counts as which kind of evidence), `matrix` (clause by
clause). Whether evidence is there is all that is said; whether a clause is met is for people to judge.
"""
