"""What the documentation site needs besides mkdocs."""
