"""The mathematics of the algorithms: pure functions on tensors."""
