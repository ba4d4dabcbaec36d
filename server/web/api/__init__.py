"""The API under /api/v1: one module a noun, each with its list of endpoints."""
