"""The servers that we start, each behind one guard: reflection, telemetry and the developer UI."""
