"""The edges people and programs see: pages, the API, sessions, the live WebSocket. All end in actions."""
