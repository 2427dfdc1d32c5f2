"""A saved audit in the formats of other tools: CSV, JUnit, SARIF, CycloneDX and a Hugging Face model card.

Each format is one file, ``to_x(results) -> bytes`` (the card is text), stands on the records and the report's wording
alone, and gives the same bytes for the same results. `folder` writes them to disk.
"""
