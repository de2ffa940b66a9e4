"""The inside of the queue, room by room. Users import `jobqueue` only."""
