"""Checking a folder that somebody else made: hashes, log, statement, signature, the page, and the numbers themselves.

`verify.verify_folder` is the way in. Nothing that stands in the folder is believed: every file may be hostile.
"""
