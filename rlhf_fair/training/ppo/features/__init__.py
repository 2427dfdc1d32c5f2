"""Deciders over table rows and gymnasium environments: small networks under the same advantages, loss and update."""
