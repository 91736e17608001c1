"""What is found in place of torch where a test is about a machine without it."""

raise ImportError("no torch here")
