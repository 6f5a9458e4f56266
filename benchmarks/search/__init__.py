"""The benchmark of the search: uniform, clustered and natural codes, hashdb three ways beside its peers."""
