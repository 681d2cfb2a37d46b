"""Market data from exchanges into time-series storage: what is stored equals what was published."""
