"""A package, so that test files of equal names do not collide."""
