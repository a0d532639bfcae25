"""A mixture and a store -> batches."""
