"""Evaluation reports: rows, statistics, comparison and rendering."""
