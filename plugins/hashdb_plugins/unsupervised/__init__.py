"""Methods that learn from vectors alone."""
