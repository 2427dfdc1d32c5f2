"""What results do not tell of single people: no direct identifiers in text, and no counts of a few people."""
