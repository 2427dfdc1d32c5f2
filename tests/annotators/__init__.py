"""A package, so that its `test_panel` and the command's do not collide."""
