"""What the pages of a trace show: its tree, one span, two traces side by side, and exports; all pure functions."""
