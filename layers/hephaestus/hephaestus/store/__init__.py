"""What is stored, written once on the port ``Table``."""
