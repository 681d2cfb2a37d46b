"""Storages of time series."""
