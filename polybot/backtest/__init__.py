"""A recorded day played through the very same desk and venue, and the report of what came of it."""
