"""The veneer: the Genkit class. Imports the blocks and the core."""
