"""Models, their checkpoints and devices: what training and prediction share."""
