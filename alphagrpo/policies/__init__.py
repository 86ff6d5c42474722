"""Models that a training can be run on, as `alphatrainers.protocols.Policy`."""
