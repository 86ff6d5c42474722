"""Model architectures of our own, one package each; none is imported before it is used."""
