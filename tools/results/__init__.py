"""Turns folders of finished trainings into a small report: tables, curves, figures, settings."""
