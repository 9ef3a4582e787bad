"""Experiments: the paper's, redone on the machine at hand, and the library's own."""
