"""What the functions do with the events that invoke them."""
