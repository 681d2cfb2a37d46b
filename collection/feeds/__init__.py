"""Price feeds: which prices are wanted."""
