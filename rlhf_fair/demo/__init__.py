"""The embedded world: a hiring assistant with a bias we planted and know."""
