"""The synthetic world: scenes rendered from a spec, whose truth is therefore known."""
