"""Entry points: thin mains that read a configuration and call the parts below."""
