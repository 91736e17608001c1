"""Trained models at work: answers, timelines, reports, calibration and export."""
