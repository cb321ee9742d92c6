"""Answers to look at: a page of one file, a film with the poses drawn in, a file for Rerun."""
