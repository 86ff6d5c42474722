"""The ground floor: errors, files, locks, strict settings, signals. Imports nothing of ours."""
