"""The synthetic world: scenes that are drawn from a spec and whose truth is therefore known."""
