"""Preprocesses events between the camera and the windows: orientation, crop, noise, hot pixels."""
