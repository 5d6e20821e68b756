"""The command ``durable`` as people use it: real processes, real signals, a real terminal."""
