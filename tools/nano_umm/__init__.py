"""Trains the nano unified model from scratch: autoencoder, language, model, export, measuring."""
