-- A payload of up to 512 bytes stands in pieces of 64: `payload`, then these (jobqueue.py, PIECE_BYTES).
local PIECES = { 'payload.1', 'payload.2', 'payload.3', 'payload.4', 'payload.5', 'payload.6', 'payload.7' }
