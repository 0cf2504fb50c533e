"""The commands `genkit-rag doctor` and `genkit-rag config`."""
