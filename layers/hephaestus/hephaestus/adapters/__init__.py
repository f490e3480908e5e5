"""The ports' other side: AWS for production, memory for tests. One contract suite runs over all of them."""
