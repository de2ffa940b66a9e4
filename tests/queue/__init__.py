"""The queue itself, through JobQueue: no program but Redis runs."""
