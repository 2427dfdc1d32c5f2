"""Puts this folder on the import path, so that tests in any subfolder can use `tiny`; no time limit for one example."""

from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.load_profile("default")
