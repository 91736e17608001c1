"""The sample corpus that the project makes itself."""
