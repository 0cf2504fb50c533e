"""Models, tools, prompts, middleware and the generate loop."""
