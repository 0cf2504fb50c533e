"""The developer UI: pages in the browser that show one project's app, its actions, traces and stores."""

from genkit_rag._server.dev_ui.app import dev_app

__all__ = ["dev_app"]
