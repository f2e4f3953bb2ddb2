"""Families: which parts, in which order."""
