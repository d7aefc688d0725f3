"""Codes and label maps: arrays and bytes in, arrays and bytes out. Needs no torch."""
