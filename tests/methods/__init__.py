"""Each built-in method and quantiser: its contract, and what its paper promises."""
