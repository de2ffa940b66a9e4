"""All capabilities at once: a file for each kind of load, with what must be true of it when all is quiet."""
