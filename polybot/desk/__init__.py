"""The deciding half of the floor: desks that turn events into verdicts, and the room they stand in. Pure."""
