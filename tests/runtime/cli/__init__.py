"""The command ``durable``, called in this process."""
