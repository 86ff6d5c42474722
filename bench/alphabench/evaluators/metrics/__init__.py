"""Plain metrics: one number for an image and its prompt, by a small model and a formula."""
