"""Applications to learn from, and to run: ``numbers`` first, then ``lists``."""
