"""`python -m genkit_rag._cli`, where the command itself is not on the path."""

from genkit_rag._cli import main

main()
