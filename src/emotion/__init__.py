"""Multimodal emotion recognition: clips -> features -> trained models."""
