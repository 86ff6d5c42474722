"""Plain metrics on the user's own prompts."""
