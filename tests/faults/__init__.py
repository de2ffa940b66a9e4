"""What the system must survive, done to it."""
