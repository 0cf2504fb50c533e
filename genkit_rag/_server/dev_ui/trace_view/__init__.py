"""The content of the trace pages as pure functions: tree, span details, comparison and export."""
