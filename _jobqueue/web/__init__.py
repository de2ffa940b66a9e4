"""All that knows HTTP: reading requests, answering them, what there is to see."""
