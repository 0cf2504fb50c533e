"""The actions of a vector store: index, retrieve, delete and inspect."""
