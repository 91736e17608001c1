"""Networks that are used as they are."""
