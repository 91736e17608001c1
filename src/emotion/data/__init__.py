"""Features to batches."""
