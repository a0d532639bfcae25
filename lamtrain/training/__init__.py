"""A config and data -> a trained model."""
