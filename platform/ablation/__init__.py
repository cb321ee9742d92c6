"""Recipes side by side: settings, tables, speed."""
