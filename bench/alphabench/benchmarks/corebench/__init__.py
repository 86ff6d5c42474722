"""T2I-CoReBench."""
