"""Tests; each file mirrors a module or a promise."""
