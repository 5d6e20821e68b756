"""Where effects happen: claims, turns, steps, timers, leases."""
