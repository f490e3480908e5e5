"""What the Makefile runs, importable by the tests."""
