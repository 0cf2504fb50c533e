"""Tools: definition, calling, interrupts, and retrievers as tools."""
