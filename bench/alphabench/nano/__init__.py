"""The embedded models: weights small enough to ship, how to load them, and their cards."""
