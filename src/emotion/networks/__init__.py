"""Networks that are trained here: encoders, fusions, and the layers that they share."""
