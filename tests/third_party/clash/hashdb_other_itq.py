"""Says that it is itq, too. Nobody gets as far as importing it."""

raise AssertionError("a plugin whose name is claimed twice must not be imported")
