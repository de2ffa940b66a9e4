"""Webhooks: which addresses may be called, what is said there, and how it is signed. Knows nothing of queues."""
