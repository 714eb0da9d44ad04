"""Rows to frames and Kubernetes' time stamps; the helper itself lies below, where every noun can reach it."""

from opslib.records.frames import age, frame, parse_time

__all__ = ["age", "frame", "parse_time"]
