"""How fast Vitrine is beside its limits, its peers and its alternatives: docs/performance.md, by `make bench`."""
