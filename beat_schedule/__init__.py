"""The schedule of the polled collectors and the scheduler that sends it."""
