"""What a training config would do, before it does it."""
