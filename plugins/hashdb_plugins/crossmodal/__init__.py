"""Methods that learn one code space for several modalities."""
