"""Measurements and their report (DESIGN.md section 11): one measurement, one file."""
