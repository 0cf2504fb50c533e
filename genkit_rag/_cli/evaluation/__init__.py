"""The command `genkit-rag eval`."""
