"""Metrics: functions and accumulators that turn arrays into numbers. No file access."""
