"""How the gradients of lanes and ranks become updates: one file each."""
