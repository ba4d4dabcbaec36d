"""The scheduler appliance: core (pure rules), storage (rows), actions (changes), agent, web; `app` wires them."""

__version__ = "0.1.0"
