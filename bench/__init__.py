"""Measured figures, side by side in one run with what users would pick instead.

`make bench` writes docs/benchmarks.md. Figures of one machine under whatever load it had (stated):
read the ratios, not the seconds.
"""
