"""Stages: what is done with a finished model, each by a command."""
