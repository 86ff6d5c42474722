"""Makes assets that ship with the package."""
