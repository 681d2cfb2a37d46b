"""Clients of exchanges: the only place where wire formats become records."""
