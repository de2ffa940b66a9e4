"""The inside of jobqueue. Users import `jobqueue` only."""
