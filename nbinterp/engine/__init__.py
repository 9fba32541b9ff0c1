"""How experiments become the fewest and smallest nnsight traces."""
