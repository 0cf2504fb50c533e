"""The core: actions, registry, plugins, errors, context, schemas and tracing. Imports nothing of ours."""
