"""Puts this folder on the import path, so that tests in any subfolder can use `tiny`."""
