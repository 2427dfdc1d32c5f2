"""Questions put to a model, one file each."""
