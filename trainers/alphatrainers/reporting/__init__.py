"""Curves of trainings as SVG and text."""
