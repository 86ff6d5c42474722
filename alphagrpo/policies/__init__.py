"""Models that a training can be run on, behind `alphatrainers.protocols.Policy`."""
