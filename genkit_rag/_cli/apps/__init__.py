"""Commands on running apps: start, flow, trace."""
