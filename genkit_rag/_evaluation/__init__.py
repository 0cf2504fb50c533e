"""Evaluation: evaluator actions, runs over a dataset, reports. Import its modules: a retriever needs one alone."""
