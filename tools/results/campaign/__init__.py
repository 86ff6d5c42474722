"""Tables of trainings over seeds: runs them, keeps their numbers, and makes a page from these."""
