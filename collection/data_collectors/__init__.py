"""Collectors: one for each kind of data."""
