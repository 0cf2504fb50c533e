"""Documents, message parts, filters and citations: the data that everything else exchanges."""
