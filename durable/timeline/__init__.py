"""A run as a person would tell it: ``timeline`` of ``entry``s and recorded ``fault``s, and their ``line``s of ``text``."""
